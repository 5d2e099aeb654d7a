// Why:  C callers must get a code and a message, never an exception or an abort.
// What: the functions of llama-headwise.h, and the way a context asks for a head-wise cache: the parameters wait in a
//       thread-local while llama_init_from_model runs, so llama_context_params keeps its layout.
// Test: tests/native/test_errors.py
#include "llama-headwise.h"

#include "llama-context.h"
#include "llama-cparams.h"
#include "llama-headwise-hooks.h"
#include "llama-impl.h"
#include "llama-kv-cache-headwise.h"
#include "llama-model.h"

#include <stdexcept>

static thread_local const llama_hw_layout_t * pending = nullptr;

llama_memory_i * llama_headwise_create_memory(const llama_model & model, const llama_memory_params &, const llama_cparams & cparams) {
    return pending ? new llama_kv_cache_headwise(model, *pending, cparams.offload_kqv) : nullptr;
}

static llama_kv_cache_headwise * cache_of(const llama_context * ctx) {
    auto * kv = ctx ? dynamic_cast<llama_kv_cache_headwise *>(ctx->get_memory()) : nullptr;
    if (!kv) {
        llama_hw_fail(LLAMA_HW_NOT_HEADWISE, "the context has no head-wise cache");
    }
    return kv;
}

template <typename F>
static int32_t guarded(F && body) {
    try {
        return body();
    } catch (const std::bad_alloc &) {
        return llama_hw_fail(LLAMA_HW_NO_MEMORY, "out of memory");
    } catch (const std::exception & err) {
        return llama_hw_fail(LLAMA_HW_COMPUTE_FAILED, err.what());
    }
}

template <typename F>
static int32_t with_cache(const llama_context * ctx, bool arguments_ok, F && body) {
    return guarded([&]() -> int32_t {
        auto * kv = cache_of(ctx);
        if (!kv) {
            return LLAMA_HW_NOT_HEADWISE;
        }
        if (!arguments_ok) {
            return llama_hw_fail(LLAMA_HW_BAD_ARGUMENT, "a required pointer is null, a number is negative, or a cache is its own source");
        }
        return body(*kv);
    });
}

int32_t llama_hw_version(int32_t * patch_level, const char ** upstream) {
    if (patch_level) { *patch_level = LLAMA_HW_PATCH; }
    if (upstream)    { *upstream    = LLAMA_HW_UPSTREAM; }
    return LLAMA_HW_ABI;
}

int32_t llama_hw_model_shape(const llama_model * model, llama_hw_shape * shape) {
    if (!model || !shape) {
        return llama_hw_fail(LLAMA_HW_BAD_ARGUMENT, "model and shape must not be null");
    }
    return guarded([&]() {
        llama_hw_layout_t lay;
        const int32_t code = llama_hw_check_model(*model, lay);
        if (code == LLAMA_HW_OK) {
            *shape = { lay.n_layer, lay.n_head_kv, lay.n_group, lay.head_dim };
        }
        return code;
    });
}

static int32_t plan(const llama_model * model, const llama_context_params & cparams, const llama_hw_params * params, llama_hw_layout_t & lay) {
    if (!model || !params) {
        return llama_hw_fail(LLAMA_HW_BAD_ARGUMENT, "model and params must not be null");
    }
    if (const int32_t code = llama_hw_check_model(*model, lay)) {
        return code;
    }
    return llama_hw_make_layout(lay, *params, cparams.type_k, cparams.type_v, llama_hw_row_align(*model, cparams.offload_kqv));
}

int32_t llama_hw_plan(
        const llama_model * model, llama_context_params cparams, const llama_hw_params * params,
        int32_t * capacity, int32_t * level, llama_hw_bytes * bytes) {
    return guarded([&]() {
        llama_hw_layout_t lay;
        const int32_t code = plan(model, cparams, params, lay);
        if (code == LLAMA_HW_OK) {
            if (capacity) { std::copy(lay.capacity.begin(), lay.capacity.end(), capacity); }
            if (level)    { std::copy(lay.level.begin(),    lay.level.end(),    level); }
            if (bytes)    { *bytes = lay.bytes(); }
        }
        return code;
    });
}

llama_context * llama_hw_init_from_model(llama_model * model, llama_context_params cparams, const llama_hw_params * params) {
    llama_context * ctx = nullptr;
    guarded([&]() {
        llama_hw_layout_t lay;
        if (const int32_t code = plan(model, cparams, params, lay)) {
            return code;
        }
        cparams.n_seq_max       = 1;
        cparams.kv_unified      = false;
        cparams.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;

        llama_hw_fail(LLAMA_HW_NO_MEMORY, "the context could not be created: see the log");
        pending = &lay;
        ctx = llama_init_from_model(model, cparams);
        pending = nullptr;
        if (!ctx) {
            return (int32_t) LLAMA_HW_NO_MEMORY;
        }
        if (!cache_of(ctx)) {
            llama_free(ctx);
            ctx = nullptr;
            return llama_hw_fail(LLAMA_HW_UNSUPPORTED, "a head-wise cache cannot serve the architecture '" +
                    model->arch_name() + "': it brings its own kind of cache");
        }
        return llama_hw_fail(LLAMA_HW_OK, "");
    });
    pending = nullptr;
    return ctx;
}

int32_t llama_hw_reserve(llama_context * ctx) {
    return with_cache(ctx, true, [&](auto &) {
        ctx->sched_reserve();
        return LLAMA_HW_OK;
    });
}

int32_t llama_hw_layout(const llama_context * ctx, int32_t * capacity, int32_t * level, int32_t * count) {
    return with_cache(ctx, true, [&](auto & kv) {
        for (int32_t i = 0; i < kv.layout.n_head(); ++i) {
            if (capacity) { capacity[i] = kv.layout.capacity[i]; }
            if (level)    { level[i]    = kv.layout.level[i]; }
            if (count)    { count[i]    = kv.count(i); }
        }
        return LLAMA_HW_OK;
    });
}

int32_t llama_hw_bytes_of(const llama_context * ctx, llama_hw_bytes * bytes) {
    return with_cache(ctx, bytes != nullptr, [&](auto & kv) {
        *bytes = kv.layout.bytes();
        for (const auto & [_, mb] : ctx->memory_breakdown()) {
            bytes->compute += mb.compute;
        }
        return LLAMA_HW_OK;
    });
}

int32_t llama_hw_model_device_bytes(const llama_model * model, uint64_t * bytes) {
    if (!model || !bytes) {
        return llama_hw_fail(LLAMA_HW_BAD_ARGUMENT, "model and bytes must not be null");
    }
    return guarded([&]() {
        *bytes = 0;
        for (const auto & [buft, size] : model->memory_breakdown()) {
            *bytes += ggml_backend_buft_is_host(buft) ? 0 : size;
        }
        return LLAMA_HW_OK;
    });
}

int32_t llama_hw_device_bytes(const llama_context * ctx, uint64_t * bytes) {
    return with_cache(ctx, bytes != nullptr, [&](auto &) {
        *bytes = 0;
        for (const auto & [buft, mb] : ctx->memory_breakdown()) {
            if (!ggml_backend_buft_is_host(buft)) {
                *bytes += mb.context + mb.compute;
            }
        }
        return LLAMA_HW_OK;
    });
}

int32_t llama_hw_free_rows(const llama_context * ctx) {
    return with_cache(ctx, true, [&](auto & kv) { return kv.free_rows(); });
}

int32_t llama_hw_next_position(const llama_context * ctx, int32_t * position) {
    return with_cache(ctx, position != nullptr, [&](auto & kv) {
        *position = kv.seq_pos_max(0) + 1;
        return LLAMA_HW_OK;
    });
}

int32_t llama_hw_set_score_window(llama_context * ctx, int32_t n_query) {
    return with_cache(ctx, n_query >= 0, [&](auto & kv) -> int32_t {
        if (n_query > kv.layout.score_window) {
            return llama_hw_fail(LLAMA_HW_BAD_ARGUMENT, format("the context was created for a score window of %d, not %d",
                    kv.layout.score_window, n_query));
        }
        kv.score_window = n_query;
        return LLAMA_HW_OK;
    });
}

int32_t llama_hw_get_scores(llama_context * ctx, float * scores, int32_t n_row) {
    return with_cache(ctx, scores != nullptr && n_row >= 0, [&](auto & kv) {
        ctx->synchronize();
        return kv.get_scores(scores, n_row);
    });
}

int32_t llama_hw_get_positions(const llama_context * ctx, int32_t * positions, int32_t n_row) {
    return with_cache(ctx, positions != nullptr && n_row >= 0, [&](auto & kv) { return kv.get_positions(positions, n_row); });
}

int32_t llama_hw_keep(llama_context * ctx, const int32_t * count, const int32_t * rows, int64_t n_rows) {
    return with_cache(ctx, count != nullptr && n_rows >= 0 && (rows != nullptr || n_rows == 0), [&](auto & kv) {
        ctx->synchronize();
        return kv.keep(ctx, count, rows, n_rows);
    });
}

int32_t llama_hw_truncate(llama_context * ctx, int32_t position) {
    return with_cache(ctx, true, [&](auto & kv) {
        ctx->synchronize();
        return kv.truncate(position);
    });
}

int32_t llama_hw_shift(llama_context * ctx, int32_t delta, int32_t from_position) {
    return with_cache(ctx, true, [&](auto & kv) {
        ctx->synchronize();
        return kv.shift(ctx, delta, from_position);
    });
}

int32_t llama_hw_move(llama_context * ctx, const int32_t * positions, int64_t n_positions, int32_t next_position) {
    return with_cache(ctx, n_positions >= 0 && (positions != nullptr || n_positions == 0), [&](auto & kv) {
        ctx->synchronize();
        return kv.move(ctx, positions, n_positions, next_position);
    });
}

int32_t llama_hw_append_rows(llama_context * dst, llama_context * src) {
    return with_cache(dst, true, [&](auto & to) {
        return with_cache(src, src != dst, [&](auto & from) {
            dst->synchronize();
            src->synchronize();
            return to.append_rows(from);
        });
    });
}

int32_t llama_hw_check_state(const llama_context * ctx, const uint8_t * data, size_t size) {
    return with_cache(ctx, data != nullptr, [&](auto & kv) { return kv.check_state(data, size); });
}

int32_t llama_hw_read_keys(llama_context * ctx, int32_t layer, int32_t head, float * data) {
    return with_cache(ctx, data != nullptr, [&](auto & kv) {
        ctx->synchronize();
        return kv.read_rows(true, layer, head, data);
    });
}

int32_t llama_hw_read_values(llama_context * ctx, int32_t layer, int32_t head, float * data) {
    return with_cache(ctx, data != nullptr, [&](auto & kv) {
        ctx->synchronize();
        return kv.read_rows(false, layer, head, data);
    });
}

int32_t llama_hw_write_values(
        llama_context * ctx, int32_t layer, int32_t head, const int32_t * rows, int32_t n_rows, const float * data) {
    return with_cache(ctx, n_rows >= 0 && ((rows != nullptr && data != nullptr) || n_rows == 0), [&](auto & kv) {
        ctx->synchronize();
        return kv.write_values(layer, head, rows, n_rows, data);
    });
}
