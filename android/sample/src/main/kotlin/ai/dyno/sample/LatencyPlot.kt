package ai.dyno.sample

import ai.dyno.RanOn
import android.content.Context
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Paint
import android.view.View

/** The times of the last inferences as bars, coloured by where they ran. */
class LatencyPlot(context: Context) : View(context) {
    private val bars = ArrayDeque<Bar>()
    private val paint = Paint(Paint.ANTI_ALIAS_FLAG).apply { textSize = 32f }

    fun add(latencyMs: Double, ranOn: RanOn) {
        if (bars.size == MOST_BARS) bars.removeFirst()
        bars.addLast(Bar(latencyMs.toFloat(), ranOn))
        invalidate()
    }

    fun clear() {
        bars.clear()
        invalidate()
    }

    override fun onDraw(canvas: Canvas) {
        val highest = bars.maxOfOrNull { it.latencyMs } ?: return
        val barWidth = width.toFloat() / MOST_BARS
        for ((at, bar) in bars.withIndex()) {
            val left = at * barWidth
            val top = height * (1 - bar.latencyMs / highest)
            paint.color = colourOf(bar.ranOn)
            canvas.drawRect(left, top, left + barWidth * 0.8f, height.toFloat(), paint)
        }
        paint.color = Color.BLACK
        canvas.drawText("%.0f ms; green: device, blue: split, orange: server".format(highest), 8f, 36f, paint)
    }

    private fun colourOf(ranOn: RanOn): Int = when (ranOn) {
        RanOn.DEVICE -> Color.rgb(0x2e, 0x7d, 0x32)
        RanOn.SPLIT -> Color.rgb(0x15, 0x65, 0xc0)
        RanOn.SERVER -> Color.rgb(0xef, 0x6c, 0x00)
    }

    private class Bar(val latencyMs: Float, val ranOn: RanOn)

    private companion object {
        const val MOST_BARS = 60
    }
}
