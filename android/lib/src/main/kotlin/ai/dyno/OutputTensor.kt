package ai.dyno

import ai.dyno.ffi.ElementType as NativeElement
import ai.dyno.ffi.OutputTensor as NativeTensor
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer

/**
 * One output of the model.
 *
 * @property name Name in the graph.
 * @property shape Dimensions, outermost first.
 * @property element Type of the elements.
 */
public class OutputTensor internal constructor(
    public val name: String,
    public val shape: List<Int>,
    public val element: ElementType,
    private val bytes: ByteArray,
) {
    /** The elements, row-major, little-endian; read-only, and a new view at each call. */
    public val data: ByteBuffer
        get() = ByteBuffer.wrap(bytes).asReadOnlyBuffer().order(ByteOrder.LITTLE_ENDIAN)

    /** The elements as floats, without a copy; throws [IllegalStateException] unless they are [ElementType.F32]. */
    public fun asFloats(): FloatBuffer {
        check(element == ElementType.F32) { "the output $name holds $element: read its data" }
        return data.asFloatBuffer()
    }

    override fun equals(other: Any?): Boolean =
        other is OutputTensor && name == other.name && shape == other.shape &&
            element == other.element && bytes.contentEquals(other.bytes)

    override fun hashCode(): Int = name.hashCode() * 31 + bytes.contentHashCode()

    override fun toString(): String = "OutputTensor($name, $element, $shape)"
}

/** Type of a tensor's elements. */
public enum class ElementType {
    /** 32-bit float. */
    F32,

    /** 64-bit signed integer. */
    I64,

    /** 32-bit signed integer. */
    I32,

    /** 8-bit unsigned integer. */
    U8,

    /** 8-bit signed integer. */
    I8,

    /** Boolean, one byte an element. */
    BOOL,
}

internal fun NativeTensor.toPublic(): OutputTensor = OutputTensor(
    name = name,
    shape = shape.map { it.toInt() },
    element = when (element) {
        NativeElement.F32 -> ElementType.F32
        NativeElement.I64 -> ElementType.I64
        NativeElement.I32 -> ElementType.I32
        NativeElement.U8 -> ElementType.U8
        NativeElement.I8 -> ElementType.I8
        NativeElement.BOOL -> ElementType.BOOL
    },
    bytes = data,
)
