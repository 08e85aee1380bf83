#ifndef M3VIT_M3VIT_H
#define M3VIT_M3VIT_H
/**
 * m3vit's runtime for C11 and for whatever can call C: runs one task at a time of a packed model (`.m3v`).
 *
 *     m3vit_model *model = NULL;
 *     m3vit_session *session = NULL;
 *     m3vit_rgb picture = M3VIT_RGB_INIT;               // then data, height, width
 *     if (m3vit_model_open("rooms.m3v", &model) != M3VIT_OK ||
 *         m3vit_session_create(model, NULL, &session) != M3VIT_OK ||
 *         m3vit_session_run(session, "depth", &picture, depth, depth_floats) != M3VIT_OK)
 *       fprintf(stderr, "%s\n", m3vit_last_error());
 *
 * - A call that fails returns a status other than M3VIT_OK, has changed nothing but the contents of its output arrays,
 *   and leaves a message for this thread. No C++ exception leaves the library; nothing here prints.
 * - A model may be used by several threads at once, a session by one at a time. Sessions share their model's weights
 *   and keep what they need of it: a model may be closed before its sessions.
 * - Strings are UTF-8 and end in 0. Strings and arrays that the library returns belong to the handle they came from.
 * - Structures begin with their own size, set by the M3VIT_..._INIT macros, and so can grow at their end: a program
 *   built against an older header works with a newer library, and zero in a new member means what it was before. A
 *   newer program's non-zero member that this library does not know is an error, never ignored.
 *
 * ABI: a change that breaks a built program raises M3VIT_ABI_VERSION, and with it the library's soname.
 */
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define M3VIT_ABI_VERSION 1

/** The library's own M3VIT_ABI_VERSION. */
int32_t m3vit_abi_version(void);
/** "0.1.0" */
const char* m3vit_version(void);

typedef enum m3vit_status {
  M3VIT_OK = 0,
  M3VIT_ERROR_ARGUMENT = 1, /**< NULL, an unknown task or instruction set, a wrong size, an option out of range */
  M3VIT_ERROR_FILE = 2,     /**< not readable, no .m3v, damaged, or cut short */
  M3VIT_ERROR_RESOURCE = 3, /**< too little memory, too small a budget, no thread or io_uring from the system */
  M3VIT_ERROR_INTERNAL = 4  /**< a fault of this library */
} m3vit_status;

/** What this thread's last failed call says: "WHERE: FIELD: want WANTED, found FOUND (HINT)". "" before the first;
 * never NULL; valid until the thread's next failed call. */
const char* m3vit_last_error(void);

/* Instruction sets that this library has kernels for and this CPU can run, best first; "scalar" is the last. */
size_t m3vit_isa_count(void);
/** NULL beyond the last. */
const char* m3vit_isa_name(size_t index);

/* Models. */
typedef struct m3vit_model m3vit_model;

/** Maps the file and checks its header: every section's name, offset and size. `*model` is set to NULL on failure. */
m3vit_status m3vit_model_open(const char* path, m3vit_model** model);
/** The same from a file's bytes, which are copied. `name` stands for the path in messages. */
m3vit_status m3vit_model_open_memory(const void* bytes, size_t size, const char* name, m3vit_model** model);
/** NULL is fine. */
void m3vit_model_close(m3vit_model* model);

/* The size of a picture, in pixels. */
int32_t m3vit_model_height(const m3vit_model* model);
int32_t m3vit_model_width(const m3vit_model* model);
int32_t m3vit_model_patch_size(const m3vit_model* model);
/** "f32" ... */
const char* m3vit_model_dtype(const m3vit_model* model);
/** The resolved configuration, JSON. */
const char* m3vit_model_config(const m3vit_model* model);

typedef struct m3vit_task_info {
  size_t size;          /**< sizeof(m3vit_task_info) */
  const char* name;     /**< "semseg", "depth", ... */
  size_t output_floats; /**< channels * height * width */
  int32_t channels;     /**< of the raw output [channels, height, width] */
  int32_t reserved;     /**< 0 */
} m3vit_task_info;
#define M3VIT_TASK_INFO_INIT \
  { sizeof(m3vit_task_info), NULL, 0, 0, 0 }

size_t m3vit_model_task_count(const m3vit_model* model);
/** Fills `*info`; M3VIT_ERROR_ARGUMENT beyond the last task. */
m3vit_status m3vit_model_task(const m3vit_model* model, size_t index, m3vit_task_info* info);
/** Floats of a task's raw output. */
m3vit_status m3vit_model_output_floats(const m3vit_model* model, const char* task, size_t* floats);

/* Sessions. */
typedef struct m3vit_session m3vit_session;

/* How an MoE layer walks its work; all three give the same bits. */
#define M3VIT_SCHEDULE_EXPERT_ORDER 0 /* expert by expert: the way to go */
#define M3VIT_SCHEDULE_TOKEN_ORDER 1  /* token by token */
#define M3VIT_SCHEDULE_DENSE 2        /* every expert for every token */

/* How a head convolves an upsampled map; all within rounding of each other. */
#define M3VIT_HEAD_AUTO 0
#define M3VIT_HEAD_DIRECT 1   /* upsample, then convolve */
#define M3VIT_HEAD_COMMUTED 2 /* convolve the small map, then upsample the result */

/* How weights come from the file. */
#define M3VIT_IO_AUTO 0  /* io_uring where the library and the system have it, else pread */
#define M3VIT_IO_URING 1 /* io_uring, or an error */
#define M3VIT_IO_PREAD 2 /* a thread with pread */
#define M3VIT_IO_MMAP 3  /* the mapped file, which must not be shortened meanwhile */

typedef struct m3vit_session_options {
  size_t size;            /**< sizeof(m3vit_session_options) */
  const char* isa;        /**< NULL: the best here; else a name of m3vit_isa_name, or an error */
  uint64_t memory_budget; /**< bytes for weights, activations and buffers together; 0: no limit. Weights that do not fit
                               are read from the file during a run, to the same bits. Too few are
                               M3VIT_ERROR_RESOURCE, with the smallest that works in the message */
  int32_t threads;        /**< 0: as many as the process may use */
  int32_t schedule;       /**< M3VIT_SCHEDULE_... */
  int32_t keep_routing;   /**< not 0: fill m3vit_session_routing */
  int32_t keep_times;     /**< not 0: fill m3vit_session_times and _task_times */
  int32_t share_prefix;   /**< not 0: m3vit_session_run_tasks computes once what no router has touched yet */
  int32_t head_form;      /**< M3VIT_HEAD_... */
  int32_t io;             /**< M3VIT_IO_... */
  int32_t batch;          /**< frames that m3vit_session_run_batch may take at once; 0: one */
} m3vit_session_options;
#define M3VIT_SESSION_OPTIONS_INIT \
  { sizeof(m3vit_session_options), NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/** Plans, allocates, and reads and checks the weights that stay in memory; runs allocate nothing. `options` NULL:
 * defaults. `*session` is set to NULL on failure. */
m3vit_status m3vit_session_create(const m3vit_model* model, const m3vit_session_options* options,
                                  m3vit_session** session);
/** NULL is fine. */
void m3vit_session_destroy(m3vit_session* session);

/** 8-bit RGB, interleaved. */
typedef struct m3vit_rgb {
  size_t size;         /**< sizeof(m3vit_rgb) */
  const uint8_t* data; /**< height rows of width pixels */
  int32_t height;
  int32_t width;
  ptrdiff_t row_bytes; /**< from one row to the next; 0: 3 * width */
} m3vit_rgb;
#define M3VIT_RGB_INIT \
  { sizeof(m3vit_rgb), NULL, 0, 0, 0 }

/** Any task, any order. `picture` must have the network's size; it is divided by 255 and normalised by the ImageNet
 * mean and deviation. `out` receives the raw output [channels, height, width]: logits, metres, unnormalised normals;
 * `out_floats` must be the task's output_floats. */
m3vit_status m3vit_session_run(m3vit_session* session, const char* task, const m3vit_rgb* picture, float* out,
                               size_t out_floats);
/** The same from planes [3, height, width] that are already normalised. */
m3vit_status m3vit_session_run_planes(m3vit_session* session, const char* task, const float* planes,
                                      size_t plane_floats, float* out, size_t out_floats);
/** The class of every pixel, [height, width]: the channel of the raw output with the largest value, the first of
 * equals. For tasks of 2 to 256 channels; `bytes` must be height * width. */
m3vit_status m3vit_session_run_classes(m3vit_session* session, const char* task, const m3vit_rgb* picture,
                                       uint8_t* classes, size_t bytes);
m3vit_status m3vit_session_run_classes_planes(m3vit_session* session, const char* task, const float* planes,
                                              size_t plane_floats, uint8_t* classes, size_t bytes);
/** `count` tasks of one picture, in this order: outs[i] of out_floats[i] floats receives tasks[i]'s raw output, the
 * same bits as alone. At most as many as the model has tasks. */
m3vit_status m3vit_session_run_tasks(m3vit_session* session, const char* const* tasks, size_t count,
                                     const m3vit_rgb* picture, float* const* outs, const size_t* out_floats);

/** 1 to `batch` pictures of one task, which go through each layer together, so that its weights are read once for all:
 * outs[i] of `out_floats` floats receives pictures[i]'s raw output, the same bits as alone. */
m3vit_status m3vit_session_run_batch(m3vit_session* session, const char* task, const m3vit_rgb* const* pictures,
                                     size_t count, float* const* outs, size_t out_floats);
/** The same for class maps of `bytes` bytes each. */
m3vit_status m3vit_session_run_batch_classes(m3vit_session* session, const char* task, const m3vit_rgb* const* pictures,
                                             size_t count, uint8_t* const* classes, size_t bytes);

/** Which experts each token went to in one MoE layer of the last run (its last task or picture); tokens in row order,
 * the class token first. The arrays change with the next run. */
typedef struct m3vit_routing {
  size_t size;            /**< sizeof(m3vit_routing) */
  const int32_t* experts; /**< [tokens, top_k], by descending weight */
  const float* weights;   /**< [tokens, top_k]; 0 where pruned */
  int32_t block;
  int32_t tokens;
  int32_t top_k;
  int32_t reserved; /**< 0 */
} m3vit_routing;
#define M3VIT_ROUTING_INIT \
  { sizeof(m3vit_routing), NULL, NULL, 0, 0, 0, 0 }

/** MoE layers; 0 without keep_routing. */
size_t m3vit_session_routing_count(const m3vit_session* session);
m3vit_status m3vit_session_routing(const m3vit_session* session, size_t index, m3vit_routing* routing);

/** Seconds of the last run by part of the network; zeros without keep_times. */
typedef struct m3vit_times {
  size_t size; /**< sizeof(m3vit_times) */
  double input, embed, attention, dense_mlp, router, experts, head;
  double total;
} m3vit_times;
#define M3VIT_TIMES_INIT \
  { sizeof(m3vit_times), 0, 0, 0, 0, 0, 0, 0, 0 }
m3vit_status m3vit_session_times(const m3vit_session* session, m3vit_times* times);

/** Bytes by plan. */
typedef struct m3vit_memory {
  size_t size;    /**< sizeof(m3vit_memory) */
  size_t arena;   /**< everything a run writes */
  size_t weights; /**< in memory throughout */
  size_t total;
  size_t streamed;       /**< weights that are read from the file when they are used */
  size_t stream_buffers; /**< the most of the arena that holds them at one time */
  size_t smallest;       /**< the smallest memory_budget that works */
} m3vit_memory;
#define M3VIT_MEMORY_INIT \
  { sizeof(m3vit_memory), 0, 0, 0, 0, 0, 0 }
m3vit_status m3vit_session_memory(const m3vit_session* session, m3vit_memory* memory);

/** Seconds of each task of the last run, in its order; NULL and a count of 0 without keep_times. */
m3vit_status m3vit_session_task_times(const m3vit_session* session, const double** seconds, size_t* count);
/** "memory", "mmap", or the way that streamed weights are read: "io_uring, O_DIRECT", "pread" ... */
const char* m3vit_session_io(const m3vit_session* session);
/** Bytes of weights read by runs since the session began. */
uint64_t m3vit_session_bytes_read(const m3vit_session* session);
const char* m3vit_session_isa(const m3vit_session* session);
int32_t m3vit_session_threads(const m3vit_session* session);

#ifdef __cplusplus
}
#endif
#endif
