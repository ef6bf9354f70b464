package ai.dyno.sample

import ai.dyno.Inference
import android.content.Context
import android.graphics.Bitmap
import android.view.View
import android.widget.Button
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.TextView

/** A photo, two buttons, a few lines and a plot. */
class Screen(context: Context, onCamera: () -> Unit, onGallery: () -> Unit) {
    private val photo = ImageView(context)
    private val text = TextView(context).apply { textSize = 16f }
    private val plot = LatencyPlot(context)

    val view: View = LinearLayout(context).apply {
        orientation = LinearLayout.VERTICAL
        fitsSystemWindows = true
        setPadding(32, 32, 32, 32)
        addView(button(context, "Camera", onCamera))
        addView(button(context, "Gallery", onGallery))
        addView(photo, stretched(weight = 3f))
        addView(text)
        addView(plot, stretched(weight = 2f))
    }

    fun say(message: String) {
        text.text = message
    }

    fun showPhoto(bitmap: Bitmap) {
        photo.setImageBitmap(bitmap)
        plot.clear()
    }

    fun showAnswer(answer: Inference) {
        val best = answer.best
        val label = if (best == null) "no label" else "%s (%.0f %%)".format(best.label, best.score * 100)
        text.text = listOf(
            label,
            "on ${answer.ranOn.name.lowercase()}: ${answer.reason}",
            "plan: ${answer.plan}",
            "%.1f ms, %d bytes sent".format(answer.times.totalMs, answer.bytesUp),
        ).joinToString("\n")
        plot.add(answer.times.totalMs, answer.ranOn)
    }

    private fun button(context: Context, name: String, onClick: () -> Unit) = Button(context).apply {
        text = name
        setOnClickListener { onClick() }
    }

    private fun stretched(weight: Float) =
        LinearLayout.LayoutParams(LinearLayout.LayoutParams.MATCH_PARENT, 0, weight)
}
