package ai.dyno

import ai.dyno.ffi.ModelInfo as NativeModelInfo

/**
 * What a client knows of its model.
 *
 * @property name Name of the model.
 * @property hash Hash of the bundle: the server holds the same one.
 * @property width Width of the model's input, in pixels.
 * @property height Height of the model's input, in pixels.
 * @property labels Names of the classes; empty if the bundle has none.
 * @property isClassifier Whether answers have labels.
 * @property lastCut Index of the last cut.
 */
public data class ModelInfo(
    public val name: String,
    public val hash: String,
    public val width: Int,
    public val height: Int,
    public val labels: List<String>,
    public val isClassifier: Boolean,
    public val lastCut: Int,
)

internal fun NativeModelInfo.toPublic(): ModelInfo = ModelInfo(
    name = name,
    hash = hash,
    width = width.toInt(),
    height = height.toInt(),
    labels = labels,
    isClassifier = isClassifier,
    lastCut = lastCut.toInt(),
)
