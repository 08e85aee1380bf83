/* Runs tasks of a packed model on one picture and prints a few values of each:
 *
 *     embed_c MODEL.m3v TASK... [--rgb FILE] [--out FILE]
 *
 * --rgb: the picture, height * width * 3 bytes, as `ffmpeg -pix_fmt rgb24 -f rawvideo` writes it; else a generated one.
 * --out: every task's raw output, float32, one after another. */
#include <m3vit/m3vit.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct arguments {
  const char *model, *rgb, *out;
  const char** tasks;
  int task_count;
} arguments;

/* Two gradients and a checkerboard. */
static void generate_picture(uint8_t* rgb, int height, int width) {
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      *rgb++ = (uint8_t)(255 * y / height);
      *rgb++ = (uint8_t)(255 * x / width);
      *rgb++ = (y / 8 + x / 8) % 2 == 0 ? 40 : 200;
    }
  }
}

static int read_picture(const char* path, uint8_t* rgb, size_t bytes) {
  FILE* file = fopen(path, "rb");
  const int whole = file != NULL && fread(rgb, 1, bytes, file) == bytes && fgetc(file) == EOF;
  if (file != NULL) fclose(file);
  if (!whole) fprintf(stderr, "%s: want a file of %zu bytes\n", path, bytes);
  return whole;
}

static double milliseconds(void) {
  struct timespec now;
  timespec_get(&now, TIME_UTC);
  return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

static int library_error(void) {
  fprintf(stderr, "%s\n", m3vit_last_error());
  return 0;
}

/* One task into the file, and a line about it. Returns 0 after a message. */
static int run_task(const m3vit_model* model, m3vit_session* session, const char* task, const m3vit_rgb* picture,
                    FILE* file) {
  size_t floats = 0;
  if (m3vit_model_output_floats(model, task, &floats) != M3VIT_OK) return library_error();
  float* out = malloc(floats * sizeof *out);
  if (out == NULL) {
    fprintf(stderr, "not enough memory\n");
    return 0;
  }
  const double start = milliseconds();
  if (m3vit_session_run(session, task, picture, out, floats) != M3VIT_OK) {
    free(out);
    return library_error();
  }
  const double ms = milliseconds() - start;

  float least = out[0];
  float most = out[0];
  for (size_t i = 1; i < floats; ++i) {
    if (out[i] < least) least = out[i];
    if (out[i] > most) most = out[i];
  }
  printf("%s: first %.9g, last %.9g, %.9g ... %.9g\n", task, (double)out[0], (double)out[floats - 1], (double)least,
         (double)most);
  fprintf(stderr, "%s: %.2f ms, %s, %d threads\n", task, ms, m3vit_session_isa(session),
          (int)m3vit_session_threads(session));
  const int written = file == NULL || fwrite(out, sizeof *out, floats, file) == floats;
  if (!written) fprintf(stderr, "the output cannot be written\n");
  free(out);
  return written;
}

static int run_all(const arguments* a, const m3vit_model* model, m3vit_session* session, uint8_t* rgb) {
  m3vit_rgb picture = M3VIT_RGB_INIT;
  picture.data = rgb;
  picture.height = m3vit_model_height(model);
  picture.width = m3vit_model_width(model);
  if (a->rgb == NULL) {
    generate_picture(rgb, picture.height, picture.width);
  } else if (!read_picture(a->rgb, rgb, 3 * (size_t)picture.height * (size_t)picture.width)) {
    return 0;
  }
  FILE* file = NULL;
  if (a->out != NULL && (file = fopen(a->out, "wb")) == NULL) {
    fprintf(stderr, "%s: cannot be written\n", a->out);
    return 0;
  }
  int fine = 1;
  for (int i = 0; fine && i < a->task_count; ++i) { /* a switch of task costs nothing */
    fine = run_task(model, session, a->tasks[i], &picture, file);
  }
  if (file != NULL && fclose(file) != 0) fine = 0;
  return fine;
}

static int run(const arguments* a) {
  m3vit_model* model = NULL;
  m3vit_session* session = NULL;
  uint8_t* rgb = NULL;
  int fine = 0;
  if (m3vit_model_open(a->model, &model) == M3VIT_OK &&
      m3vit_session_create(model, NULL, &session) == M3VIT_OK) { /* NULL: every core, the best instruction set */
    rgb = malloc(3 * (size_t)m3vit_model_height(model) * (size_t)m3vit_model_width(model));
    if (rgb == NULL) {
      fprintf(stderr, "not enough memory\n");
    } else {
      fine = run_all(a, model, session, rgb);
    }
  } else {
    library_error();
  }
  free(rgb);
  m3vit_session_destroy(session);
  m3vit_model_close(model);
  return fine ? 0 : 2;
}

int main(int argc, char** argv) {
  arguments a = {NULL, NULL, NULL, NULL, 0};
  a.tasks = malloc((size_t)argc * sizeof *a.tasks);
  if (a.tasks == NULL) return 2;
  int status = -1;
  for (int i = 1; status < 0 && i < argc; ++i) {
    if (strcmp(argv[i], "--rgb") == 0 || strcmp(argv[i], "--out") == 0) {
      if (i + 1 == argc) {
        fprintf(stderr, "%s needs a file\n", argv[i]);
        status = 2;
      } else if (strcmp(argv[i], "--rgb") == 0) {
        a.rgb = argv[++i];
      } else {
        a.out = argv[++i];
      }
    } else if (a.model == NULL) {
      a.model = argv[i];
    } else {
      a.tasks[a.task_count++] = argv[i];
    }
  }
  if (status < 0 && a.task_count == 0) {
    fprintf(stderr, "usage: embed_c MODEL.m3v TASK... [--rgb FILE] [--out FILE]\n");
    status = 2;
  }
  if (status < 0) status = run(&a);
  free(a.tasks);
  return status;
}
