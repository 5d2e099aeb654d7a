// Why:  rows that stay must not travel over a device's bus twice because others went.
// What: keep on a device. A graph for each layer gathers the rows that move into its working buffer and copies them to
//       their heads' fronts, as words of four bytes, so that rows of every type stay what they are bit for bit.
// Test: tests/native/test_device.py, test_device_transfers.py
#include "llama-kv-cache-headwise.h"

#include "llama-context.h"
#include "llama-graph.h"
#include "llama-impl.h"
#include "llama-model.h"

#include <algorithm>
#include <atomic>

namespace {

class llm_graph_input_gather : public llm_graph_input_i {
public:
    void set_input(const llama_ubatch *) override {
        ggml_backend_tensor_set(index, rows.data(), 0, rows.size()*sizeof(int32_t));
    }

    ggml_tensor * index = nullptr; // I32 [rows]
    std::vector<int32_t> rows;     // that move, head after head
};

// n rows of a pool from `first` on, as I32 [words, n]
ggml_tensor * as_words(ggml_context * ctx, ggml_tensor * pool, size_t row_size, int64_t first, int64_t n) {
    ggml_tensor * res = ggml_new_tensor_2d(ctx, GGML_TYPE_I32, row_size/sizeof(int32_t), n);
    res->op        = GGML_OP_VIEW;
    res->src[0]    = pool;
    res->view_src  = pool;
    res->view_offs = first*row_size;
    res->data      = (char *) pool->data + res->view_offs;
    return res;
}

// rows before the first that moves
int32_t unmoving(const int32_t * rows, int32_t n) {
    int32_t i = 0;
    while (i < n && rows[i] == i) {
        ++i;
    }
    return i;
}

} // namespace

int32_t llama_kv_cache_headwise::gather(
        llama_context * lctx, const int32_t * n_keep, const int32_t * rows, std::vector<unmoved> & left) {
    if (ggml_backend_buffer_is_host(layers[0].k->buffer)) {
        return LLAMA_HW_OK;
    }
    int64_t moving = 0;
    const int32_t * row = rows;
    for (int32_t i = 0; i < layout.n_head(); row += n_keep[i++]) {
        moving += n_keep[i] - unmoving(row, n_keep[i]);
    }
    if (moving == 0) {
        return LLAMA_HW_OK;
    }
    const bool done = between_batches(lctx, [&]() {
        const int32_t * row = rows;
        for (int32_t il = 0; il < layout.n_layer; ++il) {
            const int32_t * n = n_keep + layout.at(il, 0);
            if (!compute_gather(lctx, il, n, row, left[il])) {
                return false;
            }
            for (int32_t h = 0; h < layout.n_head_kv; ++h) {
                row += n[h];
            }
        }
        return true;
    });
    return done ? LLAMA_HW_OK : llama_hw_fail(LLAMA_HW_COMPUTE_FAILED, "the rows could not be moved on the device");
}

// One layer at a time: what it works with stays below the masks of the largest batch, and nothing has to grow.
bool llama_kv_cache_headwise::compute_gather(
        llama_context * lctx, int32_t il, const int32_t * n_keep, const int32_t * rows, unmoved & left) {
    static std::atomic_flag told = ATOMIC_FLAG_INIT;

    auto * sched = lctx->get_sched();
    ggml_backend_sched_reset(sched);

    auto * res = lctx->get_gf_res_reserve();
    res->reset();
    auto * ctx = res->get_ctx();
    auto * gf  = res->get_gf();

    auto inp = std::make_unique<llm_graph_input_gather>();
    std::vector<int32_t> first(layout.n_head_kv);
    const int32_t * row = rows;
    for (int32_t h = 0; h < layout.n_head_kv; row += n_keep[h++]) {
        first[h] = unmoving(row, n_keep[h]);
        inp->rows.insert(inp->rows.end(), row + first[h], row + n_keep[h]);
    }
    if (inp->rows.empty()) {
        left = { false, false, false };
        return true;
    }
    inp->index = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, inp->rows.size());
    ggml_set_input(inp->index);

    std::vector<ggml_tensor *> index(layout.n_head_kv);
    size_t begin = 0;
    for (int32_t h = 0; h < layout.n_head_kv; ++h) {
        const int32_t n = n_keep[h] - first[h];
        index[h] = n > 0 ? ggml_view_1d(ctx, inp->index, n, begin*sizeof(int32_t)) : nullptr;
        begin += n;
    }

    auto * dev = model.dev_layer(il);
    const auto move = [&](ggml_tensor * pool, size_t row_size) {
        if (!pool) {
            return true;
        }
        if (row_size % sizeof(int32_t) != 0) {
            return false;
        }
        std::vector<ggml_tensor *> moved;
        for (int32_t h = 0; h < layout.n_head_kv; ++h) {
            if (!index[h]) {
                continue;
            }
            const size_t i = layout.at(il, h);
            ggml_tensor * from = as_words(ctx, pool, row_size, layout.offset[i], count(i));
            ggml_tensor * got  = ggml_get_rows(ctx, from, index[h]);
            ggml_tensor * to   = as_words(ctx, pool, row_size, layout.offset[i] + first[h], got->ne[1]);
            moved.push_back(ggml_cpy(ctx, got, to));
            if (!ggml_backend_dev_supports_op(dev, got) || !ggml_backend_dev_supports_op(dev, moved.back())) {
                return false;
            }
        }
        for (auto * cur : moved) {
            ggml_build_forward_expand(gf, cur);
        }
        return true;
    };
    const auto & layer = layers[il];
    left.k      = !move(layer.k,      layer.k->nb[1]);
    left.v      = !move(layer.v,      layer.v->nb[1]);
    left.scores = !move(layer.scores, sizeof(float));
    if ((left.k || left.v || left.scores) && !told.test_and_set()) {
        LLAMA_LOG_WARN("%s: rows of this size cannot be moved on %s: they pass through the machine's memory\n", __func__,
                ggml_backend_dev_name(dev));
    }
    if (ggml_graph_n_nodes(gf) == 0) {
        return true;
    }
    res->add_input(std::move(inp));

    if (!ggml_backend_sched_alloc_graph(sched, gf)) {
        return false;
    }
    res->set_inputs(nullptr);
    const bool done = lctx->graph_compute(gf, true) == GGML_STATUS_SUCCESS;
    lctx->synchronize();
    return done;
}
