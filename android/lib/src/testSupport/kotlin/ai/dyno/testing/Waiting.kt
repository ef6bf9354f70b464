package ai.dyno.testing

import java.net.InetAddress
import java.net.ServerSocket
import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit

/** How long anything that has to happen may take, on a machine with other things to do. */
const val PATIENCE_SECONDS: Long = 60

/** Waits until [condition] holds; fails if it never does. */
fun eventually(what: String, condition: () -> Boolean) {
    val end = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_SECONDS)
    while (!condition()) {
        check(System.nanoTime() < end) { "this never came about: $what" }
        Thread.sleep(20)
    }
}

/** Waits for [this]; fails if it is never counted down. */
fun CountDownLatch.awaitOr(what: String) {
    check(await(PATIENCE_SECONDS, TimeUnit.SECONDS)) { "this never came about: $what" }
}

/** A URL at which nothing listens. */
fun deadUrl(): String =
    ServerSocket(0, 1, InetAddress.getLoopbackAddress()).use { "http://127.0.0.1:${it.localPort}" }
