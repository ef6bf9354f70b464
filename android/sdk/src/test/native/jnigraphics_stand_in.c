// A stand-in for Android's libjnigraphics, for tests on a JVM: the three functions that the SDK calls,
// over a bitmap of Robolectric. Nothing of it is shipped.
//
// A bitmap is locked by copying its pixels into memory of this library, through the method of Bitmap
// that Java code would call; its pixels are the bitmap's own, so that both ways to stage can be compared.

#include <jni.h>
#include <stdint.h>
#include <stdlib.h>

// As in <android/bitmap.h>.
typedef struct {
    uint32_t width;
    uint32_t height;
    uint32_t stride;
    int32_t format;
    uint32_t flags;
} AndroidBitmapInfo;

enum { SUCCESS = 0, BAD_PARAMETER = -1, JNI_EXCEPTION = -2, ALLOCATION_FAILED = -3 };
enum { FORMAT_NONE = 0, FORMAT_RGBA_8888 = 1 };

// One bitmap is locked at a time on a thread.
static _Thread_local void *locked;

static int call_int(JNIEnv *env, jobject bitmap, const char *name) {
    jclass class = (*env)->GetObjectClass(env, bitmap);
    jmethodID method = (*env)->GetMethodID(env, class, name, "()I");
    if (method == NULL) return -1;
    int value = (*env)->CallIntMethod(env, bitmap, method);
    return (*env)->ExceptionCheck(env) ? -1 : value;
}

int AndroidBitmap_getInfo(JNIEnv *env, jobject bitmap, AndroidBitmapInfo *info) {
    if (bitmap == NULL || info == NULL) return BAD_PARAMETER;
    int width = call_int(env, bitmap, "getWidth");
    int height = (*env)->ExceptionCheck(env) ? -1 : call_int(env, bitmap, "getHeight");
    int stride = (*env)->ExceptionCheck(env) ? -1 : call_int(env, bitmap, "getRowBytes");
    if (width < 0 || height < 0 || stride < 0) {
        (*env)->ExceptionClear(env);
        return JNI_EXCEPTION;
    }
    info->width = (uint32_t)width;
    info->height = (uint32_t)height;
    info->stride = (uint32_t)stride;
    info->format = stride >= width * 4 ? FORMAT_RGBA_8888 : FORMAT_NONE;
    info->flags = 0;
    return SUCCESS;
}

int AndroidBitmap_lockPixels(JNIEnv *env, jobject bitmap, void **pixels) {
    AndroidBitmapInfo info;
    int result = AndroidBitmap_getInfo(env, bitmap, &info);
    if (result != SUCCESS || pixels == NULL || locked != NULL) return result != SUCCESS ? result : BAD_PARAMETER;
    size_t bytes = (size_t)info.stride * info.height;
    locked = malloc(bytes);
    if (locked == NULL) return ALLOCATION_FAILED;
    jobject buffer = (*env)->NewDirectByteBuffer(env, locked, (jlong)bytes);
    jmethodID copy = NULL;
    if (buffer != NULL) {
        jclass class = (*env)->GetObjectClass(env, bitmap);
        copy = (*env)->GetMethodID(env, class, "copyPixelsToBuffer", "(Ljava/nio/Buffer;)V");
    }
    if (copy != NULL) (*env)->CallVoidMethod(env, bitmap, copy, buffer);
    if ((*env)->ExceptionCheck(env)) {
        (*env)->ExceptionClear(env);
        free(locked);
        locked = NULL;
        return JNI_EXCEPTION;
    }
    *pixels = locked;
    return SUCCESS;
}

int AndroidBitmap_unlockPixels(JNIEnv *env, jobject bitmap) {
    (void)env;
    (void)bitmap;
    free(locked);
    locked = NULL;
    return SUCCESS;
}
