#include "llama-kv-cache-headwise.h"

#include "llama-context.h"
#include "llama-headwise-hooks.h"
#include "llama-impl.h"
#include "llama-model.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <map>
#include <stdexcept>

// Upstream turns quantised K and V by a Hadamard matrix: K by the largest power of two that divides the head,
// V by 64. LLAMA_ATTN_ROT_DISABLE is upstream's switch.
static int32_t rotation_size(ggml_type type, int32_t head_dim, bool largest) {
    const char * disable = getenv("LLAMA_ATTN_ROT_DISABLE");
    if (!ggml_is_quantized(type) || head_dim % 64 != 0 || (disable && atoi(disable))) {
        return 0;
    }
    int32_t n = 64;
    while (largest && head_dim % (2*n) == 0) {
        n *= 2;
    }
    return n;
}

llama_kv_cache_headwise::llama_kv_cache_headwise(const llama_model & model, const llama_hw_layout_t & layout, bool offload) :
    model(model), hparams(model.hparams), layout(layout),
    k_rot(rotation_size(layout.type_k, layout.head_dim, true)),
    v_rot(rotation_size(layout.type_v, layout.head_dim, false)),
    level_count(layout.n_level(), 0), n_scored(layout.n_head(), 0) {

    std::map<ggml_backend_buffer_type_t, ggml_context_ptr> ctx_map;

    layers.resize(layout.n_layer);
    for (int32_t il = 0; il < layout.n_layer; ++il) {
        auto * buft = offload ? ggml_backend_dev_buffer_type(model.dev_layer(il)) : ggml_backend_cpu_buffer_type();

        auto & ctx = ctx_map[buft];
        if (!ctx) {
            ctx.reset(ggml_init({ 3*layout.n_layer*ggml_tensor_overhead(), nullptr, true }));
            if (!ctx) {
                throw std::runtime_error("failed to create a ggml context for the head-wise cache");
            }
        }

        auto & l = layers[il];
        l.k = ggml_new_tensor_2d(ctx.get(), layout.type_k, layout.head_dim, layout.layer_rows[il]);
        l.v = ggml_new_tensor_2d(ctx.get(), layout.type_v, layout.head_dim, layout.layer_rows[il]);
        ggml_format_name(l.k, "cache_hw_k_l%d", il);
        ggml_format_name(l.v, "cache_hw_v_l%d", il);
        if (layout.score_window > 0) {
            l.scores = ggml_new_tensor_1d(ctx.get(), GGML_TYPE_F32, layout.layer_rows[il]);
            ggml_format_name(l.scores, "cache_hw_scores_l%d", il);
        }
        l.pos.assign(layout.layer_rows[il], -1);
    }

    for (auto & [buft, ctx] : ctx_map) {
        ggml_backend_buffer_ptr buf(ggml_backend_alloc_ctx_tensors_from_buft(ctx.get(), buft));
        if (!buf) {
            throw std::runtime_error(format("failed to allocate %.1f MiB for the head-wise cache",
                    layout.bytes().pools/1024.0/1024.0));
        }
        // zeros, not noise, behind the rows: masked rows are still multiplied
        ggml_backend_buffer_clear(buf.get(), 0);
        LLAMA_LOG_INFO("%s: %10s head-wise KV buffer size = %8.2f MiB\n", __func__,
                ggml_backend_buffer_name(buf.get()), ggml_backend_buffer_get_size(buf.get())/1024.0/1024.0);
        ctxs_bufs.emplace_back(std::move(ctx), std::move(buf));
    }
}

int32_t llama_kv_cache_headwise::free_rows() const {
    int32_t res = std::numeric_limits<int32_t>::max();
    for (int32_t i = 0; i < layout.n_level(); ++i) {
        res = std::min(res, layout.level_capacity[i] - level_count[i]);
    }
    return res;
}

llama_memory_context_ptr llama_kv_cache_headwise::init_batch(llama_batch_allocr & balloc, uint32_t n_ubatch, bool) {
    balloc.split_reset();

    std::vector<llama_ubatch> ubatches;
    int32_t n_tokens = 0;
    llama_pos last = pos_max;
    while (true) {
        auto ubatch = balloc.split_simple(n_ubatch);
        if (ubatch.n_tokens == 0) {
            break;
        }
        // upstream takes an order of its own within a batch, and any first position for an empty cache
        for (uint32_t t = 0; t < ubatch.n_tokens; ++t) {
            if (ubatch.pos[t] <= last || ubatch.pos[t] > max_position) {
                LLAMA_LOG_ERROR("%s: position %d after %d, positions must ascend up to %d\n", __func__, ubatch.pos[t], last, max_position);
                llama_hw_fail(LLAMA_HW_OUT_OF_RANGE, format("position %d cannot follow %d", ubatch.pos[t], last));
                return std::make_unique<llama_kv_cache_headwise_context>(LLAMA_MEMORY_STATUS_FAILED_COMPUTE);
            }
            last = ubatch.pos[t];
        }
        n_tokens += ubatch.n_tokens;
        ubatches.push_back(std::move(ubatch));
    }

    if (balloc.get_n_used() < balloc.get_n_tokens() || n_tokens > free_rows()) {
        llama_hw_fail(LLAMA_HW_NO_MEMORY, format("%d tokens do not fit: the fullest head can take %d", n_tokens, free_rows()));
        return std::make_unique<llama_kv_cache_headwise_context>(LLAMA_MEMORY_STATUS_FAILED_PREPARE);
    }
    return std::make_unique<llama_kv_cache_headwise_context>(this, std::move(ubatches));
}

llama_memory_context_ptr llama_kv_cache_headwise::init_full() {
    return std::make_unique<llama_kv_cache_headwise_context>(this);
}

llama_memory_context_ptr llama_kv_cache_headwise::init_update(llama_context * lctx, bool) {
    if (!pending) {
        return std::make_unique<llama_kv_cache_headwise_context>(LLAMA_MEMORY_STATUS_NO_UPDATE);
    }
    return std::make_unique<llama_kv_cache_headwise_context>(this, lctx);
}

// upstream forgets the last graph and reserves the largest one again, so that none sees a buffer of before
bool llama_kv_cache_headwise::between_batches(llama_context * lctx, const std::function<bool()> & work) {
    bool done = false;
    const std::function<bool()> noted = [&]() { return done = work(); };
    pending = &noted;
    try {
        lctx->memory_update(false);
    } catch (...) {
        pending = nullptr;
        if (!done) {
            throw;
        }
    }
    pending = nullptr;
    return done;
}

void llama_kv_cache_headwise::append(const llama_ubatch & ubatch, bool scored) {
    const int32_t n = ubatch.n_tokens;
    for (int32_t il = 0; il < layout.n_layer; ++il) {
        for (int32_t h = 0; h < layout.n_head_kv; ++h) {
            const size_t i = layout.at(il, h);
            std::copy(ubatch.pos, ubatch.pos + n, layers[il].pos.begin() + layout.offset[i] + count(i));
            if (scored) {
                n_scored[i] = count(i) + n;
            }
        }
    }
    for (auto & c : level_count) {
        c += n;
    }
    pos_max = std::max(pos_max, ubatch.pos[n - 1]);
}

void llama_kv_cache_headwise::clear(bool data) {
    const auto old_count = level_count;
    std::fill(level_count.begin(), level_count.end(), 0);
    std::fill(n_scored.begin(), n_scored.end(), 0);
    pos_max = -1;
    if (data) {
        for (auto & [_, buf] : ctxs_bufs) {
            ggml_backend_buffer_clear(buf.get(), 0);
        }
    } else {
        zero_behind(old_count);
    }
}

bool llama_kv_cache_headwise::seq_rm(llama_seq_id seq_id, llama_pos p0, llama_pos p1) {
    if (seq_id > 0) {
        return true;
    }
    if (p0 <= 0 && p1 < 0) {
        clear(true);
        return true;
    }
    return p1 < 0 || p1 > pos_max ? truncate(std::max(p0, 0)) == LLAMA_HW_OK : p1 <= p0;
}

// One sequence: there is nothing to copy to or to keep from.
void llama_kv_cache_headwise::seq_cp(llama_seq_id, llama_seq_id, llama_pos, llama_pos) {
    LLAMA_LOG_ERROR("%s: a head-wise cache holds one sequence\n", __func__);
}

void llama_kv_cache_headwise::seq_keep(llama_seq_id seq_id) {
    if (seq_id != 0) {
        clear(false);
    }
}

void llama_kv_cache_headwise::seq_add(llama_seq_id, llama_pos, llama_pos, llama_pos) {
    LLAMA_LOG_ERROR("%s: use llama_hw_shift with a head-wise cache\n", __func__);
}

void llama_kv_cache_headwise::seq_div(llama_seq_id, llama_pos, llama_pos, int) {
    LLAMA_LOG_ERROR("%s: a head-wise cache cannot divide positions\n", __func__);
}

llama_pos llama_kv_cache_headwise::seq_pos_min(llama_seq_id seq_id) const {
    if (seq_id != 0 || pos_max < 0) {
        return -1;
    }
    llama_pos res = pos_max;
    for (int32_t il = 0; il < layout.n_layer; ++il) {
        for (int32_t h = 0; h < layout.n_head_kv; ++h) {
            const size_t i = layout.at(il, h);
            if (count(i) > 0) {
                res = std::min(res, layers[il].pos[layout.offset[i]]);
            }
        }
    }
    return res;
}

llama_pos llama_kv_cache_headwise::seq_pos_max(llama_seq_id seq_id) const {
    return seq_id == 0 ? pos_max : -1;
}

std::map<ggml_backend_buffer_type_t, size_t> llama_kv_cache_headwise::memory_breakdown() const {
    std::map<ggml_backend_buffer_type_t, size_t> res;
    for (const auto & [_, buf] : ctxs_bufs) {
        res[ggml_backend_buffer_get_type(buf.get())] += ggml_backend_buffer_get_size(buf.get());
    }
    return res;
}

//
// llama_kv_cache_headwise_context
//

llama_kv_cache_headwise_context::llama_kv_cache_headwise_context(llama_memory_status status) : status(status) {}

llama_kv_cache_headwise_context::llama_kv_cache_headwise_context(llama_kv_cache_headwise * kv) :
    kv(kv), n_past(kv->layout.n_level(), 0), n_kv(kv->layout.level_capacity), n_score(kv->layout.score_window),
    status(LLAMA_MEMORY_STATUS_SUCCESS) {}

llama_kv_cache_headwise_context::llama_kv_cache_headwise_context(llama_kv_cache_headwise * kv, llama_context * lctx) :
    kv(kv), status(LLAMA_MEMORY_STATUS_SUCCESS), lctx(lctx) {}

llama_kv_cache_headwise_context::llama_kv_cache_headwise_context(llama_kv_cache_headwise * kv, std::vector<llama_ubatch> ubatches) :
    kv(kv), n_past(kv->layout.n_level(), 0), n_kv(kv->layout.n_level(), 0), status(LLAMA_MEMORY_STATUS_SUCCESS),
    ubatches(std::move(ubatches)) {}

bool llama_kv_cache_headwise_context::next() {
    return ++i_cur < ubatches.size();
}

bool llama_kv_cache_headwise_context::apply() {
    if (lctx) {
        return kv->apply_update();
    }
    if (ubatches.empty()) {
        return true;
    }

    const auto & ubatch = get_ubatch();
    const int32_t n = ubatch.n_tokens;

    n_score = i_cur + 1 == ubatches.size() ? std::min(kv->score_window, n) : 0;
    n_past = kv->counts();
    for (int32_t i = 0; i < kv->layout.n_level(); ++i) {
        n_kv[i] = std::min<int32_t>(GGML_PAD(n_past[i] + n, 256), kv->layout.level_capacity[i]);
    }
    kv->append(ubatch, n_score > 0);
    return true;
}
