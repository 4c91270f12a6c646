/* What `words.py` does, in the few instructions that it takes: tools/compile.py lets mypyc call these in its place.

   Loads acquire and stores release, so that a reader who sees a word sees what was stored before it: plain moves on
   x86, ldar and stlr on ARM. Numbers come as mypyc's own, twice the number or an object with its lowest bit set. */

#ifndef STREAMFLOW_WORDS_H
#define STREAMFLOW_WORDS_H

#include <Python.h>
#include <CPy.h>

/* The `count` words from `at` on; NULL, and what is wrong, where a memoryview would have raised. */
static inline uint64_t *sf_words(PyObject *object, CPyTagged at, Py_ssize_t count, int writes) {
    if (unlikely(!PyMemoryView_Check(object))) {
        PyErr_Format(PyExc_TypeError, "a memoryview expected, not %s", Py_TYPE(object)->tp_name);
        return NULL;
    }
    PyMemoryViewObject *memory = (PyMemoryViewObject *)object;
    Py_buffer *view = &memory->view;
    if (unlikely((memory->flags & _Py_MEMORYVIEW_RELEASED) || (memory->mbuf->flags & _Py_MANAGED_BUFFER_RELEASED))) {
        PyErr_SetString(PyExc_ValueError, "operation forbidden on released memoryview object");
        return NULL;
    }
    if (unlikely(view->itemsize != 8 || view->ndim != 1 || (view->strides != NULL && view->strides[0] != 8))) {
        PyErr_SetString(PyExc_TypeError, "a memoryview of words expected");
        return NULL;
    }
    if (unlikely(writes && view->readonly)) {
        PyErr_SetString(PyExc_TypeError, "cannot modify read-only memory");
        return NULL;
    }
    Py_ssize_t length = view->len / 8;
    if (unlikely(!CPyTagged_CheckShort(at))) {
        PyErr_SetString(PyExc_IndexError, "index out of bounds");
        return NULL;
    }
    Py_ssize_t start = CPyTagged_ShortAsSsize_t(at);
    if (unlikely(start < 0 || count < 0 || start > length - count)) {
        PyErr_Format(PyExc_IndexError, "words %zd to %zd of %zd", start, start + count - 1, length);
        return NULL;
    }
    return (uint64_t *)view->buf + start;
}

static inline void sf_release(uint64_t *word, uint64_t value) {
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static inline uint64_t sf_acquire(const uint64_t *word) {
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* The bits of a number, signed or as large as a word can hold; 0, and what is wrong, where it fits neither. */
static inline int sf_bits(CPyTagged number, uint64_t *value, int *is_negative) {
    if (likely(CPyTagged_CheckShort(number))) {
        Py_ssize_t found = CPyTagged_ShortAsSsize_t(number);
        *value = (uint64_t)found;
        *is_negative = found < 0;
        return 1;
    }
    PyObject *large = CPyTagged_LongAsObject(number);
    long long found = PyLong_AsLongLong(large);
    *is_negative = found < 0 && !PyErr_Occurred();
    if (found != -1 || *is_negative) {
        *value = (uint64_t)found;
        return 1;
    }
    PyErr_Clear();
    *value = PyLong_AsUnsignedLongLong(large);
    if (*value != (uint64_t)-1 || !PyErr_Occurred()) return 1;
    PyErr_SetString(PyExc_ValueError, "a number that does not fit a word");
    return 0;
}

static inline int sf_unsigned(CPyTagged number, uint64_t *value) {
    if (likely(CPyTagged_CheckShort(number))) {
        Py_ssize_t found = CPyTagged_ShortAsSsize_t(number);
        if (likely(found >= 0)) {
            *value = (uint64_t)found;
            return 1;
        }
    } else {
        unsigned long long found = PyLong_AsUnsignedLongLong(CPyTagged_LongAsObject(number));
        if (found != (unsigned long long)-1 || !PyErr_Occurred()) {
            *value = found;
            return 1;
        }
    }
    PyErr_SetString(PyExc_ValueError, "a number that does not fit an unsigned word");
    return 0;
}

static inline CPyTagged sf_load(PyObject *words, CPyTagged at) {
    const uint64_t *word = sf_words(words, at, 1, 0);
    if (unlikely(word == NULL)) return CPY_INT_TAG;
    uint64_t value = sf_acquire(word);
    if (likely(value < (uint64_t)1 << 62)) return (CPyTagged)value << 1;
    PyObject *large = PyLong_FromUnsignedLongLong(value);
    return large == NULL ? CPY_INT_TAG : CPyTagged_StealFromObject(large);
}

static inline int sf_store(PyObject *words, CPyTagged at, CPyTagged number) {
    uint64_t value, *word = sf_words(words, at, 1, 1);
    if (unlikely(word == NULL || !sf_unsigned(number, &value))) return -1;
    sf_release(word, value);
    return 0;
}

static inline int sf_add(PyObject *words, CPyTagged at, CPyTagged amount) {
    int is_negative;
    uint64_t more, *word = sf_words(words, at, 1, 1);
    if (unlikely(word == NULL || !sf_bits(amount, &more, &is_negative))) return -1;
    uint64_t before = sf_acquire(word), sum = before + more;
    if (unlikely(is_negative ? sum > before : sum < before)) {
        PyErr_SetString(PyExc_ValueError, "a sum that does not fit an unsigned word");
        return -1;
    }
    sf_release(word, sum);
    return 0;
}

static inline int sf_copy(PyObject *words, CPyTagged to, CPyTagged start, CPyTagged count) {
    Py_ssize_t size = CPyTagged_CheckShort(count) ? CPyTagged_ShortAsSsize_t(count) : -1;
    uint64_t *target = sf_words(words, to, size, 1), *source = sf_words(words, start, size, 0);
    if (unlikely(target == NULL || source == NULL)) return -1;
    for (Py_ssize_t index = 0; index < size; index++) sf_release(target + index, source[index]);
    return 0;
}

static inline int sf_put(PyObject *words, CPyTagged at, const CPyTagged *numbers, int count) {
    int is_negative;
    uint64_t values[7], *word = sf_words(words, at, count, 1);
    if (unlikely(word == NULL)) return -1;
    for (int index = 0; index < count; index++) {
        if (unlikely(!sf_bits(numbers[index], values + index, &is_negative))) return -1;
    }
    for (int index = 0; index < count; index++) sf_release(word + index, values[index]);
    return 0;
}

static inline int sf_put4(PyObject *words, CPyTagged at, CPyTagged a, CPyTagged b, CPyTagged c, CPyTagged d) {
    const CPyTagged numbers[] = {a, b, c, d};
    return sf_put(words, at, numbers, 4);
}

static inline int sf_put5(PyObject *words, CPyTagged at, CPyTagged a, CPyTagged b, CPyTagged c, CPyTagged d,
                          CPyTagged e) {
    const CPyTagged numbers[] = {a, b, c, d, e};
    return sf_put(words, at, numbers, 5);
}

static inline int sf_put7(PyObject *words, CPyTagged at, CPyTagged a, CPyTagged b, CPyTagged c, CPyTagged d,
                          CPyTagged e, CPyTagged f, CPyTagged g) {
    const CPyTagged numbers[] = {a, b, c, d, e, f, g};
    return sf_put(words, at, numbers, 7);
}

static inline int sf_settle(void) {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return 0;
}

#endif
