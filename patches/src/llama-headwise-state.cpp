// Why:  sessions are saved and resumed.
// What: the rows in use, head by head, so a context with other capacities can take them if they fit.
// Test: tests/native/test_state.py
#include "llama-kv-cache-headwise.h"

#include "llama-impl.h"
#include "llama-io.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <stdexcept>

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
