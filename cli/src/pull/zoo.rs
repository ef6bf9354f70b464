//! The well-known models `dyno pull` knows: address, length, hash, preprocessing.
//!
//! Lengths and hashes are those of `ONNX_HUB_MANIFEST.json` in github.com/onnx/models
//! (`model_bytes`, `model_sha`, the SHA-256 of the file). The preprocessing is what the models'
//! READMEs there state. Only fp32 CNNs of opset 11 and up are listed: what `dyno prepare` takes.

/// One model of the list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ZooModel {
    /// Name on the command line; the file is `NAME.onnx`.
    pub(crate) name: &'static str,
    /// Folder of the file in the zoo's repository.
    pub(crate) folder: &'static str,
    /// Length of the file.
    pub(crate) bytes: u64,
    /// SHA-256 of the file, lower-case hex.
    pub(crate) sha256: &'static str,
    /// What it is, in a few words.
    pub(crate) about: &'static str,
    /// Preprocessing, as the TOML that `dyno prepare` reads.
    pub(crate) preprocess: &'static str,
}

/// The list, by size.
pub(crate) const MODELS: &[ZooModel] = &[
    ZooModel {
        name: "squeezenet1.0-12",
        folder: "vision/classification/squeezenet/model",
        bytes: 4_952_956,
        sha256: "dec81a8684617770b3cf13fadc1d92565d1d453d23935fc6388b792d99c992bd",
        about: "SqueezeNet 1.0, ImageNet classes",
        preprocess: IMAGENET,
    },
    ZooModel {
        name: "shufflenet-v2-12",
        folder: "vision/classification/shufflenet/model",
        bytes: 9_218_556,
        sha256: "ea69821b4dd374ae2f33f9710dd1229ac263d0ee5b5a46ca3521f6483e1ba035",
        about: "ShuffleNet v2, ImageNet classes",
        preprocess: IMAGENET,
    },
    ZooModel {
        name: "mobilenetv2-12",
        folder: "vision/classification/mobilenet/model",
        bytes: 13_964_571,
        sha256: "c0c3f76d93fa3fd6580652a45618618a220fced18babf65774ed169de0432ad5",
        about: "MobileNet v2 1.0, ImageNet classes",
        preprocess: IMAGENET,
    },
    ZooModel {
        name: "googlenet-12",
        folder: "vision/classification/inception_and_googlenet/googlenet/model",
        bytes: 28_021_836,
        sha256: "c99c507058eaf41de8723408fdda7db8325cb57f0a89f2ee07a716d6e963e14e",
        about: "GoogLeNet, ImageNet classes",
        preprocess: CAFFE,
    },
    ZooModel {
        name: "efficientnet-lite4-11",
        folder: "vision/classification/efficientnet-lite4/model",
        bytes: 51_946_641,
        sha256: "d111689907c06eea7c82e4833ddef758da6453b9d4cf60b7e99ca05c7cbd9c12",
        about: "EfficientNet-Lite4, ImageNet classes, NHWC",
        preprocess: LITE,
    },
    ZooModel {
        name: "resnet50-v1-12",
        folder: "vision/classification/resnet/model",
        bytes: 102_576_593,
        sha256: "3f03fdef724b22947eed826f1eef1dc5c34151bb4c37d634f1db89dfa2dd1526",
        about: "ResNet-50 v1, ImageNet classes",
        preprocess: IMAGENET,
    },
];

const IMAGENET: &str = "\
size = [224, 224]
resize = \"crop\"
crop_fraction = 0.875
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
";

/// BGR, 0–255, minus the mean pixel (123.68, 116.779, 103.939 in R, G, B).
const CAFFE: &str = "\
size = [224, 224]
resize = \"stretch\"
colour = \"bgr\"
mean = [0.48502, 0.457957, 0.407604]
std = [0.00392157, 0.00392157, 0.00392157]
";

/// (byte − 127) / 128.
const LITE: &str = "\
size = [224, 224]
resize = \"crop\"
crop_fraction = 0.875
layout = \"nhwc\"
mean = [0.498039, 0.498039, 0.498039]
std = [0.501961, 0.501961, 0.501961]
";

impl ZooModel {
    /// The model of this name.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        MODELS.iter().find(|model| model.name == name)
    }

    /// `NAME.onnx`.
    pub(crate) fn file_name(&self) -> String {
        format!("{}.onnx", self.name)
    }

    /// Where the zoo keeps the file: its repository, then its organisation on Hugging Face, to
    /// which it has been moving. The hash decides whether what comes is the model.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let Self { name, folder, .. } = self;
        vec![
            format!("https://github.com/onnx/models/raw/main/validated/{folder}/{name}.onnx"),
            format!("https://huggingface.co/onnxmodelzoo/{name}/resolve/main/{name}.onnx"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use dyno_core::pixels::{Layout, PreprocessFile};

    use super::*;

    #[test]
    fn every_pin_is_well_formed_and_every_name_leads_back_to_it() {
        for model in MODELS {
            let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            assert!(model.sha256.len() == 64 && model.sha256.bytes().all(hex));
            assert_eq!(ZooModel::find(model.name).unwrap().sha256, model.sha256);
        }
    }

    #[test]
    fn every_preprocessing_can_be_read() {
        for model in MODELS {
            let file = PreprocessFile::from_toml(model.preprocess).unwrap();
            let shape = match file.layout {
                Some(Layout::Nhwc) => [1, 224, 224, 3],
                _ => [1, 3, 224, 224],
            };
            file.complete(&shape).unwrap();
        }
    }
}
