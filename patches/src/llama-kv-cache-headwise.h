// Why:  a KV cache whose heads can hold different tokens, so that evicting rows of one head frees bytes.
// What: a memory class with one K pool and one V pool a layer. KV head h owns a fixed run of rows in each; its rows
//       are in order of position and new ones are appended. Heads of one level always hold equally many rows, so
//       one mask a level serves all layers and causality is row order.
// Test: tests/native/test_parity.py, test_masked.py, test_scores.py, test_keep.py, test_state.py, test_shift.py,
//       test_move.py
#pragma once

#include "llama-headwise-layout.h"

#include "llama-batch.h"
#include "llama-memory.h"

#include "ggml-cpp.h"

#include <functional>
#include <limits>
#include <vector>

struct llama_cparams;
struct llama_hparams;

class llama_kv_cache_headwise : public llama_memory_i {
public:
    llama_kv_cache_headwise(const llama_model & model, const llama_hw_layout_t & layout, bool offload);

    // llama_memory_i
    llama_memory_context_ptr init_batch(llama_batch_allocr & balloc, uint32_t n_ubatch, bool embd_all) override;
    llama_memory_context_ptr init_full() override;
    llama_memory_context_ptr init_update(llama_context * lctx, bool optimize) override;

    bool get_can_shift() const override { return false; } // llama_hw_shift instead

    void clear(bool data) override;

    bool seq_rm  (llama_seq_id seq_id, llama_pos p0, llama_pos p1) override;
    void seq_cp  (llama_seq_id seq_id_src, llama_seq_id seq_id_dst, llama_pos p0, llama_pos p1) override;
    void seq_keep(llama_seq_id seq_id) override;
    void seq_add (llama_seq_id seq_id, llama_pos p0, llama_pos p1, llama_pos shift) override;
    void seq_div (llama_seq_id seq_id, llama_pos p0, llama_pos p1, int d) override;

    llama_pos seq_pos_min(llama_seq_id seq_id) const override;
    llama_pos seq_pos_max(llama_seq_id seq_id) const override;

    std::map<ggml_backend_buffer_type_t, size_t> memory_breakdown() const override;

    void state_write(llama_io_write_i & io, llama_seq_id seq_id, llama_state_seq_flags flags) const override;
    void state_read (llama_io_read_i  & io, llama_seq_id seq_id, llama_state_seq_flags flags) override;

    // would state_read take these bytes? nothing changes
    int32_t check_state(const uint8_t * data, size_t size) const;

    // rows: codes of llama_hw_code
    int32_t keep(llama_context * lctx, const int32_t * count, const int32_t * rows, int64_t n_rows);
    int32_t truncate(llama_pos position);
    int32_t shift(llama_context * lctx, llama_pos delta, llama_pos from);
    int32_t move(llama_context * lctx, const int32_t * positions, int64_t n_positions, llama_pos next);
    int32_t append_rows(const llama_kv_cache_headwise & src);
    int32_t read_rows (bool keys, int32_t il, int32_t h, float * data) const;
    int32_t write_values(int32_t il, int32_t h, const int32_t * rows, int32_t n_rows, const float * data);
    int32_t get_scores   (float   * scores,    int32_t n_row) const;
    int32_t get_positions(int32_t * positions, int32_t n_row) const;

    int32_t free_rows() const;
    int32_t count(size_t head) const { return level_count[layout.level[head]]; }
    const std::vector<int32_t> & counts() const { return level_count; } // [level]

    // note the rows that a micro-batch is about to append
    void append(const llama_ubatch & ubatch, bool scored);

    // do the work that waits between two batches; false if its graph could not be computed
    bool apply_update() { return (*pending)(); }

    const llama_model   & model;
    const llama_hparams & hparams;

    // half of what an int holds: sums of two positions cannot overflow
    static constexpr llama_pos max_position = std::numeric_limits<llama_pos>::max()/2;

    const llama_hw_layout_t layout;

    struct layer {
        ggml_tensor * k      = nullptr; // [D, rows]
        ggml_tensor * v      = nullptr; // [D, rows]
        ggml_tensor * scores = nullptr; // [rows] f32, or none
        std::vector<llama_pos> pos;     // [rows]
    };
    std::vector<layer> layers;

    // query positions that a scored batch averages over; 0: off
    int32_t score_window = 0;

    // sizes of upstream's Hadamard rotation of quantised K and V, 0: none
    int32_t k_rot = 0;
    int32_t v_rot = 0;

private:
    struct saved { // what a state says before its rows
        llama_pos pos_max;
        std::vector<int32_t> level_count;
        std::vector<std::vector<llama_pos>> pos; // [L*H]
    };
    saved read_saved(llama_io_read_i & io) const; // throws, with the message in llama_hw_last_error, if it does not fit

    void zero_behind(const std::vector<int32_t> & old_count); // after level_count has fallen from this

    int32_t check_room(int32_t n_row) const; // can [L, H, n_row] hold every head's rows?
    int32_t check_head(int32_t il, int32_t h) const;

    std::vector<int32_t> level_count; // rows held by each head of a level
    std::vector<int32_t> n_scored;    // [L, H] leading rows that have a score
    llama_pos pos_max = -1;           // last position seen, kept or not

    struct turning { // keys that turn in place
        explicit turning(int32_t n_head) : first(n_head, 0), n(n_head, 0) {}

        std::vector<llama_pos> by;   // one angle for all rows, or one for each, head after head
        bool each = false;
        std::vector<int32_t> first;  // [L, H] first row that turns
        std::vector<int32_t> n;      // [L, H] rows that turn
    };
    int32_t turn_keys(llama_context * lctx, const turning & turn); // positions are left to the caller
    bool compute_turn(llama_context * lctx, const turning & turn);

    // move the rows that stay to the front of their heads on a device, and say which of a layer's pools it could not
    struct unmoved { bool k = true, v = true, scores = true; };
    int32_t gather(llama_context * lctx, const int32_t * n_keep, const int32_t * rows, std::vector<unmoved> & left);
    bool compute_gather(llama_context * lctx, int32_t il, const int32_t * n_keep, const int32_t * rows, unmoved & left);

    // compute graphs with the context's own buffers, and reserve its largest graph again; was the work done?
    bool between_batches(llama_context * lctx, const std::function<bool()> & work);
    const std::function<bool()> * pending = nullptr;

    std::vector<std::pair<ggml_context_ptr, ggml_backend_buffer_ptr>> ctxs_bufs;
};

// Do these rows, or their scales, hold neither infinity nor NaN, and would not if they grew by this factor? For the row
// types of a cache.
bool llama_hw_rows_finite(ggml_type type, const void * data, size_t size, float growth);

// What one micro-batch sees of the cache.
class llama_kv_cache_headwise_context : public llama_memory_context_i {
public:
    explicit llama_kv_cache_headwise_context(llama_memory_status status);
    explicit llama_kv_cache_headwise_context(llama_kv_cache_headwise * kv); // full cache, to reserve the worst graph
    llama_kv_cache_headwise_context(llama_kv_cache_headwise * kv, llama_context * lctx); // work between two batches
    llama_kv_cache_headwise_context(llama_kv_cache_headwise * kv, std::vector<llama_ubatch> ubatches);

    bool next()  override;
    bool apply() override;

    llama_memory_status  get_status() const override { return status; }
    const llama_ubatch & get_ubatch() const override { return ubatches[i_cur]; }

    llama_kv_cache_headwise * kv = nullptr;

    std::vector<int32_t> n_past; // [level] rows before this micro-batch
    std::vector<int32_t> n_kv;   // [level] rows that attention reads, padded so that graphs can be reused
    int32_t n_score = 0;         // query positions to score

private:
    llama_memory_status status;
    llama_context * lctx = nullptr;
    std::vector<llama_ubatch> ubatches;
    size_t i_cur = 0;
};
