"""A runtime for MLServer that runs ONNX files: the tails of `dyno export-tails`, by scripts/test-oip.sh."""

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse, MetadataTensor


class OnnxTail(MLModel):
    async def load(self) -> bool:
        self.session = onnxruntime.InferenceSession(self.settings.parameters.uri)
        self.inputs = [self._describe(value) for value in self.session.get_inputs()]
        self.outputs = [self._describe(value) for value in self.session.get_outputs()]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        given = {value.name: NumpyCodec.decode_input(value) for value in payload.inputs}
        names = [output.name for output in payload.outputs or self.outputs]
        computed = self.session.run(names, {name: value.astype(np.float32) for name, value in given.items()})
        outputs = [NumpyCodec.encode_output(name, value) for name, value in zip(names, computed)]
        return InferenceResponse(model_name=self.name, outputs=outputs)

    @staticmethod
    def _describe(value):
        assert value.type == "tensor(float)", value.type
        return MetadataTensor(name=value.name, datatype="FP32", shape=value.shape)
