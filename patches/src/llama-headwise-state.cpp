// Why:  sessions are saved and resumed, and endless ones must stay inside the positions a model was trained on.
// What: state writes the rows in use, head by head, so a context with other capacities can take them if they fit;
//       shift adds a constant to positions and turns the keys by it.
// Test: tests/native/test_state.py, test_shift.py
#include "llama-kv-cache-headwise.h"

#include "llama-context.h"
#include "llama-graph.h"
#include "llama-impl.h"
#include "llama-io.h"
#include "llama-model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <stdexcept>

void llama_hw_fill_hadamard(float * data, int64_t n);

static std::array<int32_t, 6> state_header(const llama_hw_layout_t & lay) {
    return { LLAMA_HW_ABI, lay.n_layer, lay.n_head_kv, lay.head_dim, (int32_t) lay.type_k, (int32_t) lay.type_v };
}

void llama_kv_cache_headwise::state_write(llama_io_write_i & io, llama_seq_id, llama_state_seq_flags) const {
    const auto header = state_header(layout);
    io.write(header.data(), sizeof(header));
    io.write(&pos_max, sizeof(pos_max));
    for (int32_t i = 0; i < layout.n_head(); ++i) {
        const int32_t n = count(i);
        io.write(&n, sizeof(n));
        io.write(layers[i/layout.n_head_kv].pos.data() + layout.offset[i], n*sizeof(llama_pos));
    }
    for (int32_t i = 0; i < layout.n_head(); ++i) {
        const auto & layer = layers[i/layout.n_head_kv];
        if (count(i) > 0) {
            io.write_tensor(layer.k, layout.offset[i]*layer.k->nb[1], count(i)*layer.k->nb[1]);
            io.write_tensor(layer.v, layout.offset[i]*layer.v->nb[1], count(i)*layer.v->nb[1]);
        }
    }
}

llama_kv_cache_headwise::saved llama_kv_cache_headwise::read_saved(llama_io_read_i & io) const {
    const auto refuse = [](const std::string & message) {
        llama_hw_fail(LLAMA_HW_BAD_ARGUMENT, message);
        throw std::runtime_error(message);
    };

    auto header = state_header(layout);
    const auto expected = header;
    io.read(header.data(), sizeof(header));
    if (header != expected) {
        refuse("the state was saved by another model, row type or library version");
    }
    saved res;
    io.read(&res.pos_max, sizeof(res.pos_max));
    if (res.pos_max < -1 || res.pos_max > max_position) {
        refuse(format("the state's last position %d makes no sense", res.pos_max));
    }

    res.level_count.assign(layout.n_level(), -1);
    res.pos.resize(layout.n_head());
    for (int32_t i = 0; i < layout.n_head(); ++i) {
        int32_t n;
        io.read(&n, sizeof(n));
        if (n < 0 || n > layout.capacity[i]) {
            refuse(format("the state holds %d rows where this context has room for %d", n, layout.capacity[i]));
        }
        auto & level = res.level_count[layout.level[i]];
        if (level >= 0 && level != n) {
            refuse(format("the state holds %d and %d rows in heads that share level %d here", level, n, layout.level[i]));
        }
        level = n;
        auto & pos = res.pos[i];
        pos.resize(n);
        io.read(pos.data(), n*sizeof(llama_pos));
        for (int32_t j = 0; j < n; ++j) {
            if (pos[j] < (j > 0 ? pos[j - 1] + 1 : 0) || pos[j] > res.pos_max) {
                refuse(format("the state's row %d has position %d: positions ascend from 0 to its last, %d", j, pos[j], res.pos_max));
            }
        }
    }
    return res;
}

namespace {

// A state in memory; reading past its end throws.
class io_read_bytes : public llama_io_read_i {
public:
    io_read_bytes(const uint8_t * data, size_t size) : data(data), size(size) {}

    void read(void * dst, size_t n) override {
        const uint8_t * src = take(n);
        std::copy(src, src + n, (uint8_t *) dst);
    }
    void read_tensor(ggml_tensor *, size_t, size_t n) override { take(n); }
    size_t n_bytes() override { return used; }

    const uint8_t * take(size_t n) {
        if (n > size - used) {
            throw std::runtime_error("it ends too early");
        }
        used += n;
        return data + used - n;
    }

private:
    const uint8_t * data;
    size_t size;
    size_t used = 0;
};

} // namespace

int32_t llama_kv_cache_headwise::check_state(const uint8_t * data, size_t size) const {
    const auto refuse = [](const std::string & why) {
        return llama_hw_fail(LLAMA_HW_BAD_ARGUMENT, "the state is damaged: " + why);
    };
    io_read_bytes io(data, size);
    saved head;
    llama_hw_fail(LLAMA_HW_OK, "");
    try {
        io.take(2*sizeof(int32_t)); // upstream's own: a magic number, which it checks before anything else, and the sequence
        head = read_saved(io);
    } catch (const std::runtime_error & err) {
        return *llama_hw_last_error() ? LLAMA_HW_BAD_ARGUMENT : refuse(err.what());
    }
    // a shift keeps the length of each pair, or of each block of a Hadamard rotation, and may put all of it in one place
    const float growth = sqrtf((float) std::max(k_rot, 2));
    for (int32_t i = 0; i < layout.n_head(); ++i) {
        for (const bool keys : { true, false }) {
            const auto type = keys ? layout.type_k : layout.type_v;
            const size_t n = head.pos[i].size()*ggml_row_size(type, layout.head_dim);
            if (n > size - io.n_bytes()) {
                return refuse("it ends too early");
            }
            if (!llama_hw_rows_finite(type, io.take(n), n, keys ? growth : 1.0f)) {
                return refuse("it holds rows that are not finite, or keys too large to turn");
            }
        }
    }
    return io.n_bytes() == size ? LLAMA_HW_OK : refuse("it goes on after its end");
}

void llama_kv_cache_headwise::state_read(llama_io_read_i & io, llama_seq_id, llama_state_seq_flags) {
    const saved head = read_saved(io);

    clear(true); // rows are overwritten from here on: a failure leaves an empty cache, not a mixed one
    for (int32_t i = 0; i < layout.n_head(); ++i) {
        auto & layer = layers[i/layout.n_head_kv];
        const size_t n = head.pos[i].size();
        if (n > 0) {
            io.read_tensor(layer.k, layout.offset[i]*layer.k->nb[1], n*layer.k->nb[1]);
            io.read_tensor(layer.v, layout.offset[i]*layer.v->nb[1], n*layer.v->nb[1]);
        }
    }
    for (int32_t i = 0; i < layout.n_head(); ++i) {
        std::copy(head.pos[i].begin(), head.pos[i].end(), layers[i/layout.n_head_kv].pos.begin() + layout.offset[i]);
    }
    level_count = head.level_count;
    pos_max     = head.pos_max;
}

int32_t llama_kv_cache_headwise::shift(llama_context * lctx, llama_pos delta, llama_pos from) {
    if (delta == 0) {
        return LLAMA_HW_OK;
    }
    if (layout.type_k == GGML_TYPE_Q4_0) {
        return llama_hw_fail(LLAMA_HW_UNSUPPORTED, "q4_0 keys lose too much when they are turned: use f16 or q8_0 keys to shift");
    }
    if (from > pos_max) {
        return llama_hw_fail(LLAMA_HW_OUT_OF_RANGE, format("no position from %d on: the last one is %d", from, pos_max));
    }
    const auto makes_sense = [&](llama_pos p) { return p + (int64_t) delta >= 0 && p + (int64_t) delta <= max_position; };
    if (pos_max + (int64_t) delta != -1 && !makes_sense(pos_max)) {
        return llama_hw_fail(LLAMA_HW_OUT_OF_RANGE, format("shifting by %d would move the last position %d out of range", delta, pos_max));
    }
    for (int32_t i = 0; i < layout.n_head(); ++i) {
        const auto * pos = layers[i/layout.n_head_kv].pos.data() + layout.offset[i];
        const auto * first = std::lower_bound(pos, pos + count(i), from);
        if (first < pos + count(i) && !makes_sense(*first)) {
            return llama_hw_fail(LLAMA_HW_OUT_OF_RANGE, format("shifting by %d would move position %d below 0", delta, *first));
        }
        // the rows that stay must stay before those that move, and before the next token
        const int64_t next = first < pos + count(i) ? *first : pos_max + 1;
        if (first > pos && next + delta <= *(first - 1)) {
            return llama_hw_fail(LLAMA_HW_OUT_OF_RANGE, format("shifting positions from %d on by %d would pass the rows before", from, delta));
        }
    }

    shift_delta = delta;
    shift_from  = from;
    shift_done  = false;
    try {
        lctx->memory_update(false);
    } catch (...) {
        shift_delta = 0;
        if (!shift_done) {
            throw;
        }
    }
    shift_delta = 0;
    if (!shift_done) {
        return llama_hw_fail(LLAMA_HW_COMPUTE_FAILED, "the keys could not be turned");
    }

    for (int32_t i = 0; i < layout.n_head(); ++i) {
        auto * pos = layers[i/layout.n_head_kv].pos.data() + layout.offset[i];
        for (auto * p = std::lower_bound(pos, pos + count(i), from); p < pos + count(i); ++p) {
            *p += delta;
        }
    }
    pos_max += delta;
    return LLAMA_HW_OK;
}

namespace {

class llm_graph_input_shift : public llm_graph_input_i {
public:
    explicit llm_graph_input_shift(llama_pos delta) : delta(delta) {}

    void set_input(const llama_ubatch *) override {
        // a cache that does not turn leaves its inputs out of the graph
        if (pos->buffer) {
            ggml_backend_tensor_set(pos, &delta, 0, sizeof(delta));
        }
        if (rot && rot->buffer) {
            GGML_ASSERT(ggml_backend_buffer_is_host(rot->buffer));
            llama_hw_fill_hadamard((float *) rot->data, rot->ne[0]);
        }
    }

    const llama_pos delta;
    ggml_tensor * pos = nullptr; // I32 [1]: all rows turn by the same angle, so they pass as heads of one token
    ggml_tensor * rot = nullptr;
};

} // namespace

bool llama_kv_cache_headwise::apply_shift(llama_context * lctx) {
    if (hparams.rope_type == LLAMA_ROPE_TYPE_NONE) {
        shift_done = true;
        return true;
    }
    const auto & cparams = lctx->get_cparams();

    // audio and text give all sections of M-RoPE the same position: the plain rotation is exact
    const auto rope_type = hparams.rope_type == LLAMA_ROPE_TYPE_MROPE || hparams.rope_type == LLAMA_ROPE_TYPE_IMROPE ?
        LLAMA_ROPE_TYPE_NEOX : hparams.rope_type;
    // rope multiplies by YaRN's magnitude again: cancel it, a shift only turns
    const float attn_factor = cparams.yarn_ext_factor != 0.0f ? 1.0f/(1.0f + 0.1f*logf(1.0f/cparams.rope_freq_scale)) : 1.0f;

    auto * sched = lctx->get_sched();
    ggml_backend_sched_reset(sched);

    auto * res = lctx->get_gf_res_reserve();
    res->reset();
    auto * ctx = res->get_ctx();
    auto * gf  = res->get_gf();

    auto inp = std::make_unique<llm_graph_input_shift>(shift_delta);
    inp->pos = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, 1);
    ggml_set_input(inp->pos);
    if (k_rot > 0) {
        inp->rot = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, k_rot, k_rot);
        ggml_set_input(inp->rot);
    }

    for (int32_t i = 0; i < layout.n_head(); ++i) {
        const int32_t il = i/layout.n_head_kv;
        auto * pool = layers[il].k;

        const auto * pos = layers[il].pos.data() + layout.offset[i];
        const int64_t first = std::lower_bound(pos, pos + count(i), shift_from) - pos;
        const int64_t n     = count(i) - first;
        if (n == 0 || !hparams.has_rope(il)) {
            continue;
        }

        ggml_tensor * k = ggml_view_3d(ctx, pool, layout.head_dim, n, 1, pool->nb[1], n*pool->nb[1],
                (layout.offset[i] + first)*pool->nb[1]);
        const auto rope = [&](auto * op, ggml_tensor * x) {
            return op(ctx, x, inp->pos, model.get_rope_factors(cparams, il), hparams.n_rot(il), rope_type,
                    cparams.n_ctx_orig_yarn, model.get_rope_freq_base(cparams, il), model.get_rope_freq_scale(cparams, il),
                    cparams.yarn_ext_factor, attn_factor, cparams.yarn_beta_fast, cparams.yarn_beta_slow);
        };
        if (ggml_is_quantized(pool->type)) {
            ggml_tensor * x = ggml_cast(ctx, k, GGML_TYPE_F32);
            x = inp->rot ? llama_mul_mat_hadamard(ctx, x, inp->rot) : x;
            x = rope(ggml_rope_ext, x);
            x = inp->rot ? llama_mul_mat_hadamard(ctx, x, inp->rot) : x;
            k = ggml_cpy(ctx, x, k);
        } else {
            k = rope(ggml_rope_ext_inplace, k);
        }
        ggml_build_forward_expand(gf, k);
    }
    if (ggml_graph_n_nodes(gf) == 0) {
        shift_done = true;
        return true;
    }
    res->add_input(std::move(inp));

    if (!ggml_backend_sched_alloc_graph(sched, gf)) {
        return false;
    }
    res->set_inputs(nullptr);
    shift_done = lctx->graph_compute(gf, true) == GGML_STATUS_SUCCESS;
    lctx->synchronize();
    return shift_done;
}
