// Why:  eviction, rollback and value merging work on the rows of single heads.
// What: keep, truncate, append, read and write of rows. Everything is checked before anything moves.
// Test: tests/native/test_keep.py, test_rows.py, test_errors.py
#include "llama-kv-cache-headwise.h"

#include "llama-impl.h"

#include "ggml-backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>

int32_t llama_kv_cache_headwise::check_room(int32_t n_row) const {
    const int32_t need = *std::max_element(level_count.begin(), level_count.end());
    return n_row >= need ? LLAMA_HW_OK :
        llama_hw_fail(LLAMA_HW_BAD_ARGUMENT, format("room for %d rows a head is needed, not %d", need, n_row));
}

int32_t llama_kv_cache_headwise::check_head(int32_t il, int32_t h) const {
    if (il >= 0 && il < layout.n_layer && h >= 0 && h < layout.n_head_kv) {
        return LLAMA_HW_OK;
    }
    return llama_hw_fail(LLAMA_HW_OUT_OF_RANGE, format("there is no KV head %d in layer %d: the model has %d x %d",
            h, il, layout.n_layer, layout.n_head_kv));
}

// Move the rows of one head to the front of its run, in order; neighbours move together.
template <typename F>
static void each_run(const int32_t * rows, int32_t n, F && move) {
    for (int32_t i = 0, j; i < n; i = j) {
        for (j = i + 1; j < n && rows[j] == rows[j - 1] + 1; ++j) {}
        if (rows[i] != i) {
            move(i, rows[i], j - i);
        }
    }
}

static void compact(ggml_tensor * pool, size_t row_size, int64_t offset, const int32_t * rows, int32_t n,
        std::vector<uint8_t> & staging) {
    if (!pool || n == 0 || rows[n - 1] == n - 1) {
        return;
    }
    const size_t begin = offset*row_size;
    const size_t size  = (rows[n - 1] + 1)*row_size;

    uint8_t * data;
    const bool host = ggml_backend_buffer_is_host(pool->buffer);
    if (host) {
        data = (uint8_t *) pool->data + begin;
    } else {
        staging.resize(std::max(staging.size(), size));
        data = staging.data();
        ggml_backend_tensor_get(pool, data, begin, size);
    }
    each_run(rows, n, [&](int32_t to, int32_t from, int32_t len) {
        memmove(data + to*row_size, data + from*row_size, len*row_size);
    });
    if (!host) {
        ggml_backend_tensor_set(pool, data, begin, n*row_size);
    }
}

// Vulkan fills whole words of four bytes, and not all quantised rows are some.
static void zero_bytes(ggml_tensor * pool, size_t offset, size_t size) {
    if (offset % 4 == 0 && size % 4 == 0) {
        ggml_backend_tensor_memset(pool, 0, offset, size);
    } else {
        const std::vector<uint8_t> zeros(size, 0);
        ggml_backend_tensor_set(pool, zeros.data(), offset, size);
    }
}

// Masked rows are still multiplied, so one NaN behind the end would spoil every later token.
void llama_kv_cache_headwise::zero_behind(const std::vector<int32_t> & old_count) {
    for (int32_t i = 0; i < layout.n_head(); ++i) {
        const auto & layer = layers[i/layout.n_head_kv];
        const int64_t n = old_count[layout.level[i]] - count(i);
        if (n > 0) {
            for (auto * pool : { layer.k, layer.v }) {
                zero_bytes(pool, (layout.offset[i] + count(i))*pool->nb[1], n*pool->nb[1]);
            }
        }
    }
}

int32_t llama_kv_cache_headwise::keep(llama_context * lctx, const int32_t * n_keep, const int32_t * rows, int64_t n_rows) {
    std::vector<int32_t> new_count(layout.n_level(), -1);
    int64_t used = 0;
    for (int32_t i = 0; i < layout.n_head(); ++i) {
        const int32_t il = i/layout.n_head_kv;
        const int32_t h  = i%layout.n_head_kv;
        const int32_t n  = n_keep[i];

        if (n < 0 || n > count(i) || n > n_rows - used) {
            return llama_hw_fail(LLAMA_HW_OUT_OF_RANGE, format(
                    "layer %d, KV head %d: cannot keep %d rows of %d (%lld listed)", il, h, n, count(i), (long long) (n_rows - used)));
        }
        const int32_t * r = rows + used;
        for (int32_t j = 0; j < n; ++j) {
            if (r[j] < 0 || r[j] >= count(i)) {
                return llama_hw_fail(LLAMA_HW_OUT_OF_RANGE, format(
                        "layer %d, KV head %d: row %d does not exist, the head holds %d", il, h, r[j], count(i)));
            }
            if (j > 0 && r[j] <= r[j - 1]) {
                return llama_hw_fail(LLAMA_HW_NOT_ASCENDING, format(
                        "layer %d, KV head %d: row %d after row %d, rows must ascend", il, h, r[j], r[j - 1]));
            }
        }
        auto & expected = new_count[layout.level[i]];
        if (expected >= 0 && expected != n) {
            return llama_hw_fail(LLAMA_HW_UNEQUAL, format(
                    "layer %d, KV head %d: %d rows, but other heads of level %d keep %d", il, h, n, layout.level[i], expected));
        }
        expected = n;
        used += n;
    }
    if (used != n_rows) {
        return llama_hw_fail(LLAMA_HW_BAD_ARGUMENT, format("%lld rows listed, but the counts sum to %lld",
                (long long) n_rows, (long long) used));
    }

    const size_t size_k = ggml_row_size(layout.type_k, layout.head_dim);
    const size_t size_v = ggml_row_size(layout.type_v, layout.head_dim);
    std::vector<unmoved> left(layout.n_layer);
    if (const int32_t code = gather(lctx, n_keep, rows, left)) {
        return code;
    }
    std::vector<uint8_t> staging;
    for (int32_t i = 0; i < layout.n_head(); ++i) {
        auto & layer = layers[i/layout.n_head_kv];
        const auto & mine = left[i/layout.n_head_kv];
        const int32_t n = n_keep[i];
        if (mine.k)      { compact(layer.k,      size_k,        layout.offset[i], rows, n, staging); }
        if (mine.v)      { compact(layer.v,      size_v,        layout.offset[i], rows, n, staging); }
        if (mine.scores) { compact(layer.scores, sizeof(float), layout.offset[i], rows, n, staging); }

        auto * pos = layer.pos.data() + layout.offset[i];
        each_run(rows, n, [&](int32_t to, int32_t from, int32_t len) {
            memmove(pos + to, pos + from, len*sizeof(llama_pos));
        });
        n_scored[i] = (int32_t) (std::lower_bound(rows, rows + n, n_scored[i]) - rows);
        rows += n;
    }
    std::swap(level_count, new_count);
    zero_behind(new_count);
    return LLAMA_HW_OK;
}

int32_t llama_kv_cache_headwise::truncate(llama_pos position) {
    if (position < 0) {
        return llama_hw_fail(LLAMA_HW_OUT_OF_RANGE, format("there is no position %d to go back to", position));
    }
    std::vector<int32_t> new_count(layout.n_level(), -1);
    for (int32_t i = 0; i < layout.n_head(); ++i) {
        const auto * pos = layers[i/layout.n_head_kv].pos.data() + layout.offset[i];
        const int32_t n = (int32_t) (std::lower_bound(pos, pos + count(i), position) - pos);
        auto & expected = new_count[layout.level[i]];
        if (expected >= 0 && expected != n) {
            return llama_hw_fail(LLAMA_HW_UNEQUAL, format(
                    "cannot go back to position %d: heads of level %d kept different numbers of rows before it",
                    position, layout.level[i]));
        }
        expected = n;
    }
    std::swap(level_count, new_count);
    zero_behind(new_count);
    for (int32_t i = 0; i < layout.n_head(); ++i) {
        n_scored[i] = std::min(n_scored[i], count(i));
    }
    pos_max = std::min(pos_max, position - 1);
    return LLAMA_HW_OK;
}

// From one pool to another, by the device itself if both are on one.
static void copy_rows(ggml_context * ctx, ggml_tensor * to, int64_t to_row, ggml_tensor * from, int64_t from_row, int64_t n) {
    const auto rows = [&](ggml_tensor * pool, int64_t first) {
        ggml_tensor * view = ggml_view_2d(ctx, pool, pool->ne[0], n, pool->nb[1], first*pool->nb[1]);
        ggml_backend_view_init(view);
        return view;
    };
    if (n > 0) {
        ggml_backend_tensor_copy(rows(from, from_row), rows(to, to_row));
    }
}

int32_t llama_kv_cache_headwise::append_rows(const llama_kv_cache_headwise & src) {
    const auto & theirs = src.layout;
    if (&src.model != &model || theirs.type_k != layout.type_k || theirs.type_v != layout.type_v) {
        return llama_hw_fail(LLAMA_HW_BAD_ARGUMENT, "rows can be appended from a cache of the same model and row types only");
    }
    std::vector<int32_t> new_count(layout.n_level(), -1);
    for (int32_t i = 0; i < layout.n_head(); ++i) {
        const llama_pos first = src.layers[i/layout.n_head_kv].pos[theirs.offset[i]];
        if (src.count(i) > 0 && first <= pos_max) {
            return llama_hw_fail(LLAMA_HW_OUT_OF_RANGE, format(
                    "rows from position %d cannot follow position %d: shift them first", first, pos_max));
        }
        const int32_t level = layout.level[i];
        const int32_t n     = count(i) + src.count(i);
        if (n > layout.level_capacity[level]) {
            return llama_hw_fail(LLAMA_HW_NO_MEMORY, format("layer %d, KV head %d: %d more rows do not fit, %d of %d are taken",
                    i/layout.n_head_kv, i%layout.n_head_kv, src.count(i), count(i), layout.level_capacity[level]));
        }
        if (new_count[level] >= 0 && new_count[level] != n) {
            return llama_hw_fail(LLAMA_HW_UNEQUAL, format(
                    "layer %d, KV head %d: %d more rows, but other heads of level %d get another number",
                    i/layout.n_head_kv, i%layout.n_head_kv, src.count(i), level));
        }
        new_count[level] = n;
    }

    ggml_context_ptr views { ggml_init({ 4*layout.n_head()*ggml_tensor_overhead(), nullptr, true }) };
    if (!views) {
        return llama_hw_fail(LLAMA_HW_NO_MEMORY, "out of memory");
    }
    for (int32_t i = 0; i < layout.n_head(); ++i) {
        auto & layer = layers[i/layout.n_head_kv];
        const auto & other = src.layers[i/layout.n_head_kv];
        const int64_t at = layout.offset[i] + count(i);
        const int32_t n  = src.count(i);

        copy_rows(views.get(), layer.k, at, other.k, theirs.offset[i], n);
        copy_rows(views.get(), layer.v, at, other.v, theirs.offset[i], n);
        std::copy_n(other.pos.begin() + theirs.offset[i], n, layer.pos.begin() + at);
    }
    level_count = new_count;
    pos_max = std::max(pos_max, src.pos_max);
    return LLAMA_HW_OK;
}

// f16 rows are halves; each block of a quantised row begins with its scale, a half too.
bool llama_hw_rows_finite(ggml_type type, const void * data, size_t size, float growth) {
    // infinity and NaN have the largest exponent, whatever the growth
    const uint16_t limit = ggml_fp32_to_fp16(65504.0f/growth) & 0x7fff;
    const size_t step = ggml_type_size(type);
    for (size_t i = 0; i + step <= size; i += step) {
        uint16_t half;
        memcpy(&half, (const uint8_t *) data + i, sizeof(half));
        if ((half & 0x7fff) > limit) {
            return false;
        }
    }
    return true;
}

// In place; orthonormal and its own inverse.
static void hadamard(float * x, int32_t n) {
    for (int32_t s = 1; s < n; s *= 2) {
        for (int32_t i = 0; i < n; i += 2*s) {
            for (int32_t j = i; j < i + s; ++j) {
                const float a = x[j], b = x[j + s];
                x[j]     = a + b;
                x[j + s] = a - b;
            }
        }
    }
    const float scale = 1.0f/sqrtf((float) n);
    for (int32_t i = 0; i < n; ++i) {
        x[i] *= scale;
    }
}

static void rotate_rows(float * data, int64_t n, int32_t rot) {
    for (int64_t i = 0; rot > 0 && i < n; i += rot) {
        hadamard(data + i, rot);
    }
}

int32_t llama_kv_cache_headwise::read_rows(bool keys, int32_t il, int32_t h, float * data) const {
    if (const int32_t code = check_head(il, h)) {
        return code;
    }
    const auto * pool = keys ? layers[il].k : layers[il].v;
    const size_t i = layout.at(il, h);
    const int64_t n = (int64_t) count(i)*layout.head_dim;

    std::vector<uint8_t> raw(ggml_row_size(pool->type, n));
    ggml_backend_tensor_get(pool, raw.data(), layout.offset[i]*pool->nb[1], raw.size());
    ggml_get_type_traits(pool->type)->to_float(raw.data(), data, n);
    rotate_rows(data, n, keys ? k_rot : v_rot);
    return LLAMA_HW_OK;
}

int32_t llama_kv_cache_headwise::write_values(int32_t il, int32_t h, const int32_t * rows, int32_t n_rows, const float * data) {
    if (const int32_t code = check_head(il, h)) {
        return code;
    }
    const size_t i = layout.at(il, h);
    for (int32_t j = 0; j < n_rows; ++j) {
        if (rows[j] < 0 || rows[j] >= count(i)) {
            return llama_hw_fail(LLAMA_HW_OUT_OF_RANGE, format(
                    "layer %d, KV head %d: row %d does not exist, the head holds %d", il, h, rows[j], count(i)));
        }
        for (int32_t d = 0; d < layout.head_dim; ++d) {
            if (!std::isfinite(data[(int64_t) j*layout.head_dim + d])) {
                return llama_hw_fail(LLAMA_HW_BAD_ARGUMENT, format(
                        "layer %d, KV head %d: the value for row %d is not finite", il, h, rows[j]));
            }
        }
    }

    // all rows are made before any is stored: what is finite as a float may overflow the row type
    auto * pool = layers[il].v;
    const size_t row_size = pool->nb[1];
    std::vector<float>   row(layout.head_dim);
    std::vector<uint8_t> raw(n_rows*row_size);
    for (int32_t j = 0; j < n_rows; ++j) {
        std::copy_n(data + (int64_t) j*layout.head_dim, layout.head_dim, row.begin());
        rotate_rows(row.data(), layout.head_dim, v_rot);
        ggml_quantize_chunk(pool->type, row.data(), raw.data() + j*row_size, 0, 1, layout.head_dim, nullptr);
        if (!llama_hw_rows_finite(pool->type, raw.data() + j*row_size, row_size, 1.0f)) {
            return llama_hw_fail(LLAMA_HW_OUT_OF_RANGE, format(
                    "layer %d, KV head %d: the value for row %d is too large for %s", il, h, rows[j], ggml_type_name(pool->type)));
        }
    }
    for (int32_t j = 0; j < n_rows; ++j) {
        ggml_backend_tensor_set(pool, raw.data() + j*row_size, (layout.offset[i] + rows[j])*row_size, row_size);
    }
    return LLAMA_HW_OK;
}

int32_t llama_kv_cache_headwise::get_scores(float * scores, int32_t n_row) const {
    if (layout.score_window == 0) {
        return llama_hw_fail(LLAMA_HW_BAD_ARGUMENT, "the context was created without a score window");
    }
    if (const int32_t code = check_room(n_row)) {
        return code;
    }
    std::fill_n(scores, (size_t) layout.n_head()*n_row, 0.0f);
    for (int32_t i = 0; i < layout.n_head(); ++i) {
        ggml_backend_tensor_get(layers[i/layout.n_head_kv].scores, scores + (size_t) i*n_row,
                layout.offset[i]*sizeof(float), n_scored[i]*sizeof(float));
    }
    return LLAMA_HW_OK;
}

int32_t llama_kv_cache_headwise::get_positions(int32_t * positions, int32_t n_row) const {
    if (const int32_t code = check_room(n_row)) {
        return code;
    }
    std::fill_n(positions, (size_t) layout.n_head()*n_row, -1);
    for (int32_t i = 0; i < layout.n_head(); ++i) {
        std::copy_n(layers[i/layout.n_head_kv].pos.begin() + layout.offset[i], count(i), positions + (size_t) i*n_row);
    }
    return LLAMA_HW_OK;
}
