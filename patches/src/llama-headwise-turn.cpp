// Why:  endless sessions must stay inside the positions a model was trained on.
// What: shift adds a constant to positions, move gives each row a position of its own; both turn the keys in place.
// Test: tests/native/test_shift.py, test_move.py
#include "llama-kv-cache-headwise.h"

#include "llama-context.h"
#include "llama-graph.h"
#include "llama-impl.h"
#include "llama-model.h"

#include <algorithm>
#include <cmath>

void llama_hw_fill_hadamard(float * data, int64_t n);

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

    turning turn(layout.n_head());
    turn.by = { delta };
    for (int32_t i = 0; i < layout.n_head(); ++i) {
        const auto * pos = layers[i/layout.n_head_kv].pos.data() + layout.offset[i];
        turn.first[i] = (int32_t) (std::lower_bound(pos, pos + count(i), from) - pos);
        turn.n[i]     = count(i) - turn.first[i];
    }
    if (const int32_t code = turn_keys(lctx, turn)) {
        return code;
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

int32_t llama_kv_cache_headwise::move(llama_context * lctx, const int32_t * positions, int64_t n_positions, llama_pos next) {
    int64_t held = 0;
    for (int32_t i = 0; i < layout.n_head(); ++i) {
        held += count(i);
    }
    if (n_positions != held) {
        return llama_hw_fail(LLAMA_HW_BAD_ARGUMENT, format("%lld positions are given, but the heads hold %lld rows",
                (long long) n_positions, (long long) held));
    }
    // no further than the model was trained for, or than the cache has come without this
    const llama_pos limit = std::max(pos_max + 1, (llama_pos) std::min<uint32_t>(hparams.n_ctx_train, max_position));
    if (next < 0 || next > limit) {
        return llama_hw_fail(LLAMA_HW_OUT_OF_RANGE, format("the next position cannot be %d: 0 to %d are possible", next, limit));
    }

    turning turn(layout.n_head());
    turn.by.reserve(held);
    const int32_t * to = positions;
    for (int32_t i = 0; i < layout.n_head(); to += count(i++)) {
        const int32_t n = count(i);
        for (int32_t j = 0; j < n; ++j) {
            if (to[j] < 0 || to[j] >= next) {
                return llama_hw_fail(LLAMA_HW_OUT_OF_RANGE, format("layer %d, KV head %d: row %d cannot move to position %d, before %d",
                        i/layout.n_head_kv, i%layout.n_head_kv, j, to[j], next));
            }
            if (j > 0 && to[j] <= to[j - 1]) {
                return llama_hw_fail(LLAMA_HW_NOT_ASCENDING, format("layer %d, KV head %d: position %d after %d, positions must ascend",
                        i/layout.n_head_kv, i%layout.n_head_kv, to[j], to[j - 1]));
            }
        }
        // rows that stay where they are keep their bytes, at least at a head's ends
        const auto * pos = layers[i/layout.n_head_kv].pos.data() + layout.offset[i];
        int32_t first = 0, end = n;
        while (first < end && to[first] == pos[first]) {
            ++first;
        }
        while (first < end && to[end - 1] == pos[end - 1]) {
            --end;
        }
        turn.first[i] = first;
        turn.n[i]     = end - first;
        for (int32_t j = first; j < end; ++j) {
            turn.by.push_back(to[j] - pos[j]);
        }
    }
    if (!turn.by.empty()) {
        turn.each = true;
        if (layout.type_k == GGML_TYPE_Q4_0) {
            return llama_hw_fail(LLAMA_HW_UNSUPPORTED, "q4_0 keys lose too much when they are turned: use f16 or q8_0 keys to move rows");
        }
        if (const int32_t code = turn_keys(lctx, turn)) {
            return code;
        }
    }

    to = positions;
    for (int32_t i = 0; i < layout.n_head(); to += count(i++)) {
        std::copy_n(to, count(i), layers[i/layout.n_head_kv].pos.begin() + layout.offset[i]);
    }
    pos_max = next - 1;
    return LLAMA_HW_OK;
}

int32_t llama_kv_cache_headwise::turn_keys(llama_context * lctx, const turning & turn) {
    return between_batches(lctx, [&]() { return compute_turn(lctx, turn); }) ? LLAMA_HW_OK :
        llama_hw_fail(LLAMA_HW_COMPUTE_FAILED, "the keys could not be turned");
}

namespace {

class llm_graph_input_turn : public llm_graph_input_i {
public:
    explicit llm_graph_input_turn(const std::vector<llama_pos> & by) : by(by) {}

    void set_input(const llama_ubatch *) override {
        // a cache that does not turn leaves its inputs out of the graph
        if (pos->buffer) {
            ggml_backend_tensor_set(pos, by.data(), 0, by.size()*sizeof(llama_pos));
        }
        if (rot && rot->buffer) {
            GGML_ASSERT(ggml_backend_buffer_is_host(rot->buffer));
            llama_hw_fill_hadamard((float *) rot->data, rot->ne[0]);
        }
    }

    const std::vector<llama_pos> & by;
    ggml_tensor * pos = nullptr; // I32 [by]
    ggml_tensor * rot = nullptr;
};

} // namespace

bool llama_kv_cache_headwise::compute_turn(llama_context * lctx, const turning & turn) {
    if (hparams.rope_type == LLAMA_ROPE_TYPE_NONE) {
        return true;
    }
    const auto & cparams = lctx->get_cparams();

    // audio and text give all sections of M-RoPE the same position: the plain rotation is exact
    const auto rope_type = hparams.rope_type == LLAMA_ROPE_TYPE_MROPE || hparams.rope_type == LLAMA_ROPE_TYPE_IMROPE ?
        LLAMA_ROPE_TYPE_NEOX : hparams.rope_type;
    // rope multiplies by YaRN's magnitude again: cancel it, keys only turn
    const float attn_factor = cparams.yarn_ext_factor != 0.0f ? 1.0f/(1.0f + 0.1f*logf(1.0f/cparams.rope_freq_scale)) : 1.0f;

    auto * sched = lctx->get_sched();
    ggml_backend_sched_reset(sched);

    auto * res = lctx->get_gf_res_reserve();
    res->reset();
    auto * ctx = res->get_ctx();
    auto * gf  = res->get_gf();

    auto inp = std::make_unique<llm_graph_input_turn>(turn.by);
    inp->pos = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, turn.by.size());
    ggml_set_input(inp->pos);
    if (k_rot > 0) {
        inp->rot = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, k_rot, k_rot);
        ggml_set_input(inp->rot);
    }

    int64_t n_before = 0;
    for (int32_t i = 0; i < layout.n_head(); n_before += turn.n[i++]) {
        const int32_t il = i/layout.n_head_kv;
        const int64_t n  = turn.n[i];
        auto * pool = layers[il].k;
        if (n == 0 || !hparams.has_rope(il)) {
            continue;
        }

        // rows that turn by one angle pass as heads of one token, others as tokens of one head
        ggml_tensor * k = ggml_view_3d(ctx, pool, layout.head_dim, turn.each ? 1 : n, turn.each ? n : 1,
                pool->nb[1], (turn.each ? 1 : n)*pool->nb[1], (layout.offset[i] + turn.first[i])*pool->nb[1]);
        ggml_tensor * by = turn.each ? ggml_view_1d(ctx, inp->pos, n, n_before*sizeof(llama_pos)) : inp->pos;
        const auto rope = [&](auto * op, ggml_tensor * x) {
            return op(ctx, x, by, model.get_rope_factors(cparams, il), hparams.n_rot(il), rope_type,
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
