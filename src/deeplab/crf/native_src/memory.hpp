// Arrays that are not set to anything; large ones lie in huge pages, since random gathers miss the TLB otherwise, and are
// kept for the next picture, since the system clears every page that it hands out.
#pragma once

#include <cstdint>
#include <utility>

namespace crf {

void* take_memory(int64_t bytes);
void give_memory(void* memory, int64_t bytes);
// Frees what is kept: a large picture needs other sizes.
void drop_memory();

template <class T>
class Array {
  public:
    Array() = default;
    explicit Array(int64_t count) : data_(static_cast<T*>(take_memory(count * int64_t(sizeof(T))))), size_(count) {}
    ~Array() { give_memory(data_, size_ * int64_t(sizeof(T))); }
    Array(Array&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    Array& operator=(Array&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }

    T* data() const { return data_; }
    int64_t size() const { return size_; }
    T& operator[](int64_t i) const { return data_[i]; }
    T* begin() const { return data_; }
    T* end() const { return data_ + size_; }

  private:
    T* data_ = nullptr;
    int64_t size_ = 0;
};

}  // namespace crf
