#include "llama-headwise-layout.h"

#include "llama-impl.h"
#include "llama-model.h"

#include <algorithm>
#include <limits>
#include <map>

static thread_local std::string last_error;

int32_t llama_hw_fail(int32_t code, const std::string & message) {
    last_error = message;
    return code;
}

const char * llama_hw_last_error(void) {
    return last_error.c_str();
}

uint64_t llama_hw_layout_t::n_rows() const {
    uint64_t sum = 0;
    for (const auto rows : layer_rows) {
        sum += rows;
    }
    return sum;
}

llama_hw_bytes llama_hw_layout_t::bytes() const {
    const uint64_t rows = n_rows();
    llama_hw_bytes res = {};
    res.pools     = rows*(ggml_row_size(type_k, head_dim) + ggml_row_size(type_v, head_dim));
    res.scores    = score_window > 0 ? rows*sizeof(float) : 0;
    res.positions = rows*sizeof(int32_t);
    return res;
}

static std::string why_unsupported(const llama_model & model) {
    const auto & hp = model.hparams;

    if (llm_arch_is_recurrent(model.arch)) { return "it keeps a recurrent state instead of keys and values"; }
    if (llm_arch_is_hybrid(model.arch))    { return "it mixes recurrent layers with attention"; }
    if (hp.swa_type != LLAMA_SWA_TYPE_NONE || hp.is_swa_any()) { return "it uses sliding-window attention"; }
    if (hp.is_mla())                       { return "its heads share one latent key (MLA)"; }
    if (hp.use_alibi || hp.f_max_alibi_bias > 0.0f) { return "it uses ALiBi, which needs distances in the mask"; }
    if (hp.attn_soft_cap || model.arch == LLM_ARCH_GROK) { return "it caps attention logits"; }
    if (!hp.causal_attn)                   { return "its attention is not causal"; }
    if (llama_model_has_encoder(&model))   { return "it is an encoder-decoder"; }
    if (hp.n_layer() == 0)                 { return "it has no attention layers"; }
    if (hp.n_layer_nextn > 0 && hp.router_layer >= 0) { return "it routes through an extra layer"; }
    if (model.split_mode() == LLAMA_SPLIT_MODE_TENSOR) { return "its tensors are split over devices"; }

    const uint32_t n_layer = hp.n_layer();
    for (uint32_t il = 0; il < n_layer; ++il) {
        if (hp.n_head_kv(il) == 0 || hp.n_head_kv(il) != hp.n_head_kv(0) || hp.n_head(il) != hp.n_head(0) ||
                hp.n_embd_head_k(il) != hp.n_embd_head_k(0)) {
            return "its layers differ in heads or head size";
        }
        if (hp.n_embd_head_v(il) != hp.n_embd_head_k(il)) {
            return "its keys and values differ in head size";
        }
        if (!hp.has_kv(il)) {
            return "some of its layers reuse another layer's cache";
        }
    }
    return "";
}

int32_t llama_hw_check_model(const llama_model & model, llama_hw_layout_t & layout) {
    const std::string reason = why_unsupported(model);
    if (!reason.empty()) {
        return llama_hw_fail(LLAMA_HW_UNSUPPORTED,
                "a head-wise cache cannot serve the architecture '" + model.arch_name() + "': " + reason);
    }
    layout.n_layer   = model.hparams.n_layer();
    layout.n_head_kv = model.hparams.n_head_kv(0);
    layout.n_group   = model.hparams.n_head(0)/model.hparams.n_head_kv(0);
    layout.head_dim  = model.hparams.n_embd_head_k(0);
    return LLAMA_HW_OK;
}

int32_t llama_hw_row_align(const llama_model & model, bool offload_kqv) {
    if (offload_kqv) {
        for (uint32_t il = 0; il < model.hparams.n_layer(); ++il) {
            if (!ggml_backend_buft_is_host(ggml_backend_dev_buffer_type(model.dev_layer(il)))) {
                return 256;
            }
        }
    }
    return 64;
}

// The best upper bounds: split the sorted distinct capacities into n_level groups, each rounded up to its largest,
// so that the fewest rows are added. Dynamic programme over (groups used, values covered).
static std::vector<int32_t> choose_levels(const std::map<int32_t, int64_t> & heads_by_capacity, int32_t n_level) {
    std::vector<int32_t> value;
    std::vector<int64_t> below = { 0 }; // heads with a smaller capacity
    for (const auto & [capacity, heads] : heads_by_capacity) {
        value.push_back(capacity);
        below.push_back(below.back() + heads);
    }
    const int32_t n = (int32_t) value.size();
    if (n <= n_level) {
        return value;
    }

    std::vector<int64_t> cost(n + 1, std::numeric_limits<int64_t>::max()/2);
    cost[0] = 0;
    std::vector<std::vector<int32_t>> from(n_level, std::vector<int32_t>(n + 1, 0));
    for (int32_t g = 0; g < n_level; ++g) {
        std::vector<int64_t> next(n + 1, std::numeric_limits<int64_t>::max()/2);
        for (int32_t end = 1; end <= n; ++end) {
            for (int32_t begin = 0; begin < end; ++begin) {
                const int64_t c = cost[begin] + (below[end] - below[begin])*value[end - 1];
                if (c < next[end]) {
                    next[end]    = c;
                    from[g][end] = begin;
                }
            }
        }
        cost = next;
    }

    std::vector<int32_t> res;
    for (int32_t g = n_level - 1, end = n; g >= 0 && end > 0; --g) {
        res.push_back(value[end - 1]);
        end = from[g][end];
    }
    std::reverse(res.begin(), res.end());
    return res;
}

int32_t llama_hw_make_layout(
        llama_hw_layout_t & lay, const llama_hw_params & params, ggml_type type_k, ggml_type type_v, int32_t row_align) {
    for (const auto type : { type_k, type_v }) {
        if (type != GGML_TYPE_F16 && type != GGML_TYPE_Q8_0 && type != GGML_TYPE_Q4_0) {
            return llama_hw_fail(LLAMA_HW_UNSUPPORTED,
                    std::string("rows can be f16, q8_0 or q4_0, not ") + ggml_type_name(type));
        }
        if (lay.head_dim % ggml_blck_size(type) != 0) {
            return llama_hw_fail(LLAMA_HW_UNSUPPORTED, format("%s rows need a head size that is a multiple of %d, not %d",
                    ggml_type_name(type), (int) ggml_blck_size(type), lay.head_dim));
        }
    }
    if (params.capacity == nullptr || params.n_capacity != lay.n_head()) {
        return llama_hw_fail(LLAMA_HW_BAD_ARGUMENT, format("capacity must have %d x %d entries, not %d",
                lay.n_layer, lay.n_head_kv, params.n_capacity));
    }
    if (params.max_levels < 1 || params.max_levels > LLAMA_HW_MAX_LEVELS) {
        return llama_hw_fail(LLAMA_HW_BAD_ARGUMENT, format("max_levels must be 1 to %d, not %d",
                LLAMA_HW_MAX_LEVELS, params.max_levels));
    }
    if (params.score_window < 0) {
        return llama_hw_fail(LLAMA_HW_BAD_ARGUMENT, format("score_window must not be negative, not %d", params.score_window));
    }

    lay.type_k       = type_k;
    lay.type_v       = type_v;
    lay.score_window = params.score_window;
    lay.capacity.assign(params.capacity, params.capacity + params.n_capacity);

    std::map<int32_t, int64_t> heads_by_capacity;
    for (auto & capacity : lay.capacity) {
        if (capacity < 1 || capacity > std::numeric_limits<int32_t>::max()/2) {
            return llama_hw_fail(LLAMA_HW_BAD_ARGUMENT, format("every head needs a capacity of at least one row, not %d", capacity));
        }
        capacity = GGML_PAD(capacity, row_align);
        heads_by_capacity[capacity]++;
    }
    lay.level_capacity = choose_levels(heads_by_capacity, params.max_levels);

    lay.level.resize(lay.n_head());
    lay.offset.resize(lay.n_head());
    lay.layer_rows.assign(lay.n_layer, 0);
    for (int32_t il = 0; il < lay.n_layer; ++il) {
        for (int32_t h = 0; h < lay.n_head_kv; ++h) {
            const size_t i = lay.at(il, h);
            const auto it = std::lower_bound(lay.level_capacity.begin(), lay.level_capacity.end(), lay.capacity[i]);
            lay.level[i]    = (int32_t) (it - lay.level_capacity.begin());
            lay.capacity[i] = *it;
            lay.offset[i]   = lay.layer_rows[il];
            lay.layer_rows[il] += *it;
        }
    }
    return LLAMA_HW_OK;
}
