// Why:  attention over heads that hold different rows, without a new op and without gathering.
// What: new rows are scattered to each head's end; attention runs once for each run of neighbouring heads of one
//       level over a strided view of the pool; scores are softmax(Q K^T) of the last queries, meaned.
// Test: tests/native/test_parity.py, test_masked.py, test_scores.py
#include "llama-headwise-hooks.h"

#include "llama-cparams.h"
#include "llama-graph.h"
#include "llama-impl.h"
#include "llama-kv-cache-headwise.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

// Sylvester's Hadamard matrix, orthonormal: upstream's rotation of quantised K and V.
void llama_hw_fill_hadamard(float * data, int64_t n) {
    data[0] = 1.0f/sqrtf((float) n);
    for (int64_t s = 1; s < n; s *= 2) {
        for (int64_t i = 0; i < s; ++i) {
            for (int64_t j = 0; j < s; ++j) {
                const float x = data[i*n + j];
                data[(i + s)*n + j]     =  x;
                data[i*n + j + s]       =  x;
                data[(i + s)*n + j + s] = -x;
            }
        }
    }
}

class llm_graph_input_attn_headwise : public llm_graph_input_attn_kv {
public:
    llm_graph_input_attn_headwise(
            const llama_hparams & hparams, const llama_cparams & cparams, const llama_kv_cache_headwise_context * hw) :
        llm_graph_input_attn_kv(hparams, cparams, nullptr), hw(hw), n_kv(hw->n_kv), n_score(hw->n_score) {}

    void set_input(const llama_ubatch * ubatch) override;
    bool can_reuse(const llm_graph_params & params) override;

    const llama_kv_cache_headwise_context * hw;
    const std::vector<int32_t> n_kv;
    const int32_t n_score;

    ggml_tensor * rows = nullptr;     // I32 [H*T, L] where each new row goes
    std::vector<ggml_tensor *> masks; // [level] F16 [n_kv, T]
    std::vector<ggml_tensor *> score_masks; // [level] their last rows; every view a device reads is copied to it
};

void llm_graph_input_attn_headwise::set_input(const llama_ubatch * ubatch) {
    const auto & lay = hw->kv->layout;
    const int64_t n_tokens = ubatch->n_tokens;

    GGML_ASSERT(ggml_backend_buffer_is_host(rows->buffer));
    auto * row = (int32_t *) rows->data;
    for (int32_t il = 0; il < lay.n_layer; ++il) {
        for (int64_t t = 0; t < n_tokens; ++t) {
            for (int32_t h = 0; h < lay.n_head_kv; ++h) {
                const size_t i = lay.at(il, h);
                *row++ = (int32_t) (lay.offset[i] + hw->n_past[lay.level[i]] + t);
            }
        }
    }

    const ggml_fp16_t hidden = ggml_fp32_to_fp16(-INFINITY);
    for (size_t level = 0; level < masks.size(); ++level) {
        GGML_ASSERT(ggml_backend_buffer_is_host(masks[level]->buffer));
        const int64_t n = n_kv[level];
        for (int64_t t = 0; t < n_tokens; ++t) {
            auto * data = (ggml_fp16_t *) masks[level]->data + t*n;
            const int64_t n_seen = hw->n_past[level] + t + 1;
            memset(data, 0, n_seen*sizeof(ggml_fp16_t));
            std::fill(data + n_seen, data + n, hidden);
        }
    }

    for (auto * rot : { self_k_rot, self_v_rot }) {
        if (rot) {
            GGML_ASSERT(ggml_backend_buffer_is_host(rot->buffer));
            llama_hw_fill_hadamard((float *) rot->data, rot->ne[0]);
        }
    }
}

bool llm_graph_input_attn_headwise::can_reuse(const llm_graph_params & params) {
    hw = static_cast<const llama_kv_cache_headwise_context *>(params.mctx);

    return hw->n_kv == n_kv && hw->n_score == n_score &&
        masks[0]->ne[1] == params.ubatch.n_tokens;
}

static ggml_tensor * new_rotation(ggml_context * ctx, int32_t n, const char * name) {
    if (n == 0) {
        return nullptr;
    }
    ggml_tensor * rot = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, n, n);
    ggml_set_input(rot);
    ggml_set_name(rot, name);
    return rot;
}

llm_graph_input_attn_kv * llama_headwise_build_inp(const llm_graph_context & graph) {
    const auto * hw = dynamic_cast<const llama_kv_cache_headwise_context *>(graph.mctx);
    if (!hw) {
        return nullptr;
    }
    const auto & lay = hw->kv->layout;
    auto * ctx = graph.ctx0;

    auto inp = std::make_unique<llm_graph_input_attn_headwise>(graph.hparams, graph.cparams, hw);

    inp->rows = ggml_new_tensor_2d(ctx, GGML_TYPE_I32, lay.n_head_kv*graph.n_tokens, lay.n_layer);
    ggml_set_input(inp->rows);
    ggml_set_name(inp->rows, "hw_rows");
    for (const auto n_kv : hw->n_kv) {
        inp->masks.push_back(ggml_new_tensor_2d(ctx, GGML_TYPE_F16, n_kv, graph.n_tokens));
        ggml_set_input(inp->masks.back());
        ggml_set_name(inp->masks.back(), "hw_mask");
    }
    const int64_t n_query = std::min<int64_t>(hw->n_score, graph.n_tokens);
    for (auto * mask : inp->masks) {
        if (n_query > 0) {
            inp->score_masks.push_back(ggml_view_2d(ctx, mask, mask->ne[0], n_query, mask->nb[1],
                    (graph.n_tokens - n_query)*mask->nb[1]));
        }
    }
    inp->self_k_rot = new_rotation(ctx, hw->kv->k_rot, "attn_inp_k_rot");
    inp->self_v_rot = new_rotation(ctx, hw->kv->v_rot, "attn_inp_v_rot");

    return (llm_graph_input_attn_kv *) graph.res->add_input(std::move(inp));
}

// Sum of the rows of p [n, rows] as [n]: the upper half is added to the lower until one row is left. Adding is
// contiguous and needs no memory; ggml can only mean over the first dimension, which would cost a transposed copy.
static ggml_tensor * sum_rows_in_place(ggml_context * ctx, ggml_tensor * p) {
    const auto part = [&](ggml_tensor * x, int64_t rows, int64_t first) {
        return ggml_view_2d(ctx, x, x->ne[0], rows, x->nb[1], first*x->nb[1]);
    };
    for (int64_t rows = p->ne[1]; rows > 1; rows = (rows + 1)/2) {
        const int64_t half  = rows/2;
        ggml_tensor * lower = ggml_add_inplace(ctx, part(p, half, 0), part(p, half, rows - half));
        // an odd row in the middle waits for the next round
        p = half == rows - half ? lower : part(lower, half + 1, 0);
    }
    return ggml_view_1d(ctx, p, p->ne[0], 0);
}

// Rows in the machine's memory are attended to there: a device would copy all of them at every token.
static ggml_tensor * where_the_rows_are(const llm_graph_context & graph, ggml_tensor * cur) {
    if (!graph.cparams.offload_kqv) {
        ggml_backend_sched_set_tensor_backend(graph.sched, cur, graph.backend_cpu);
    }
    return cur;
}

// Mean over the last n_score queries and the query group of each row's attention probability.
static void build_scores(
        const llm_graph_context & graph, const llm_graph_input_attn_headwise & inp, ggml_tensor * q, float kq_scale, int il) {
    const auto & lay   = inp.hw->kv->layout;
    const auto & layer = inp.hw->kv->layers[il];
    auto * ctx = graph.ctx0;

    const int64_t n_tokens = q->ne[2];
    const int64_t n_query  = std::min<int64_t>(inp.n_score, n_tokens);

    for (int32_t h = 0; h < lay.n_head_kv; ++h) {
        const size_t  i     = lay.at(il, h);
        const int32_t level = lay.level[i];
        const int64_t n_kv  = inp.n_kv[level];

        ggml_tensor * qh = ggml_view_3d(ctx, q, lay.head_dim, lay.n_group, n_query, q->nb[1], q->nb[2],
                h*lay.n_group*q->nb[1] + (n_tokens - n_query)*q->nb[2]);
        ggml_tensor * kh = ggml_view_2d(ctx, layer.k, lay.head_dim, n_kv, layer.k->nb[1], lay.offset[i]*layer.k->nb[1]);

        ggml_tensor * p = ggml_mul_mat(ctx, kh, ggml_permute(ctx, qh, 0, 2, 1, 3)); // [n_kv, n_query, G]
        ggml_prec_set_acc(where_the_rows_are(graph, p), GGML_PREC_F32);
        p = ggml_soft_max_ext(ctx, p, inp.score_masks[level], kq_scale, 0.0f);
        p = sum_rows_in_place(ctx, ggml_reshape_2d(ctx, p, n_kv, n_query*lay.n_group));
        p = ggml_scale(ctx, p, 1.0f/(n_query*lay.n_group));

        ggml_tensor * dst = ggml_view_1d(ctx, layer.scores, n_kv, lay.offset[i]*sizeof(float));
        ggml_build_forward_expand(graph.gf, ggml_cpy(ctx, p, dst));
    }
}

ggml_tensor * llama_headwise_build_attn(
        const llm_graph_context & graph, llm_graph_input_attn_kv * inp_kv,
        ggml_tensor * q, ggml_tensor * k, ggml_tensor * v, ggml_tensor * kq_b, ggml_tensor * sinks,
        float kq_scale, int il) {
    const auto * inp = dynamic_cast<const llm_graph_input_attn_headwise *>(inp_kv);
    if (!inp) {
        return nullptr;
    }
    if (kq_b || sinks) {
        const char * what = kq_b ? "an attention bias" : "attention sinks";
        llama_hw_fail(LLAMA_HW_UNSUPPORTED, format("a head-wise cache cannot serve a model with %s", what));
        throw std::runtime_error(llama_hw_last_error());
    }

    const auto & lay   = inp->hw->kv->layout;
    const auto & layer = inp->hw->kv->layers[il];
    auto * ctx = graph.ctx0;

    const int64_t n_tokens = q->ne[2];
    const int64_t n_rows   = lay.n_head_kv*n_tokens;

    ggml_tensor * rows = ggml_view_1d(ctx, inp->rows, n_rows, il*inp->rows->nb[1]);
    const auto store = [&](ggml_tensor * pool, ggml_tensor * cur) {
        cur = ggml_is_contiguous(cur) ? cur : ggml_cont(ctx, cur);
        cur = ggml_reshape_2d(ctx, cur, lay.head_dim, n_rows);
        ggml_build_forward_expand(graph.gf, ggml_set_rows(ctx, pool, cur, rows));
    };
    store(layer.k, k);
    store(layer.v, v);

    ggml_tensor * cur = nullptr;
    for (int32_t h0 = 0, h1; h0 < lay.n_head_kv; h0 = h1) {
        const int32_t level = lay.level[lay.at(il, h0)];
        for (h1 = h0 + 1; h1 < lay.n_head_kv && lay.level[lay.at(il, h1)] == level; ++h1) {}

        const int64_t n    = h1 - h0;
        const int64_t n_kv = inp->n_kv[level];
        const int64_t cap  = lay.level_capacity[level];
        const int64_t off  = lay.offset[lay.at(il, h0)];

        const auto run = [&](ggml_tensor * pool) {
            return ggml_view_3d(ctx, pool, lay.head_dim, n_kv, n, pool->nb[1], cap*pool->nb[1], off*pool->nb[1]);
        };
        ggml_tensor * q_run = ggml_view_3d(ctx, q, lay.head_dim, n*lay.n_group, n_tokens, q->nb[1], q->nb[2],
                h0*lay.n_group*q->nb[1]);

        ggml_tensor * out = ggml_flash_attn_ext(ctx, ggml_permute(ctx, q_run, 0, 2, 1, 3), run(layer.k), run(layer.v),
                inp->masks[level], kq_scale, 0.0f, 0.0f); // [D, n*G, T]
        ggml_prec_set_acc(where_the_rows_are(graph, out), GGML_PREC_F32);

        cur = cur ? ggml_concat(ctx, cur, out, 1) : out;
    }
    cur = ggml_reshape_2d(ctx, cur, cur->ne[0]*cur->ne[1], cur->ne[2]);
    ggml_build_forward_expand(graph.gf, cur);

    if (inp->n_score > 0) {
        build_scores(graph, *inp, q, kq_scale, il);
    }
    return cur;
}

uint32_t llama_headwise_graph_nodes(const llama_memory_i * memory) {
    const auto * kv = dynamic_cast<const llama_kv_cache_headwise *>(memory);
    // a head costs at most 5 nodes of attention and 10 of scores, 4 more each time the rows are halved; or 10 of a turn
    int32_t n = 16;
    for (int64_t rows = kv ? (int64_t) kv->layout.score_window*kv->layout.n_group : 0; rows > 1; rows = (rows + 1)/2) {
        n += 4;
    }
    return kv ? n*kv->layout.n_head() : 0;
}
