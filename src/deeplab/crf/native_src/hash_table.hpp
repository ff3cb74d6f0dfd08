// Gives lattice points consecutive numbers in the order of their first appearance.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "memory.hpp"

namespace crf {

inline uint64_t hash_of(uint64_t key) { return key * 0x9E3779B97F4A7C15ull; }
inline uint64_t hash_of(unsigned __int128 key) {
    return (uint64_t(key) ^ (uint64_t(key >> 64) * 0xC2B2AE3D27D4EB4Full)) * 0x9E3779B97F4A7C15ull;
}

template <class Key>
class HashTable {
  public:
    explicit HashTable(int bits) : shift_(64 - bits), mask_((size_t(1) << bits) - 1), slots_(empty(mask_ + 1)) {}

    const std::vector<Key>& keys() const { return keys_; }

    void prefetch(Key key) const { __builtin_prefetch(&slots_[hash_of(key) >> shift_]); }

    int32_t find_or_add(Key key) {
        size_t h = hash_of(key) >> shift_;
        while (slots_[h].id >= 0) {
            if (slots_[h].key == key) return slots_[h].id;
            h = (h + 1) & mask_;
        }
        const int32_t id = int32_t(keys_.size());
        slots_[h] = Slot{key, id};
        keys_.push_back(key);
        if (2 * keys_.size() > mask_) grow();
        return id;
    }

  private:
    struct Slot {
        Key key;
        int32_t id;
    };

    static Array<Slot> empty(size_t count) {
        Array<Slot> slots{int64_t(count)};
        std::fill(slots.begin(), slots.end(), Slot{0, -1});
        return slots;
    }

    void grow() {
        --shift_;
        mask_ = 2 * mask_ + 1;
        slots_ = Array<Slot>();
        slots_ = empty(mask_ + 1);
        for (size_t i = 0; i < keys_.size(); ++i) {
            size_t h = hash_of(keys_[i]) >> shift_;
            while (slots_[h].id >= 0) h = (h + 1) & mask_;
            slots_[h] = Slot{keys_[i], int32_t(i)};
        }
    }

    int shift_;
    size_t mask_;
    Array<Slot> slots_;
    std::vector<Key> keys_;
};

}  // namespace crf
