//! Checkpoints as people have them: every one gives the same model as the plain one, or one line.

use std::fs::{self, File};
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use purrscope::io::tensors::{METADATA_KEY, Precision, TensorFile, TensorWriter};
use purrscope::io::torch::TorchFile;
use purrscope::model::card::TokenizerCard;
use purrscope::model::import::{Sources, Weights, import};
use purrscope::model::layers::Initialiser;
use purrscope::model::{Model, ModelCard, Tokenizer, TokenizerConfig, params, tokenizer_name};
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::common::{cpu, fail, golden_path, succeed};
use crate::torch_writer::{PickleWriter, row_major, write_legacy, write_zip};

/// A tensor on its way into a checkpoint.
#[derive(Clone)]
struct Weight {
    name: String,
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// The weights of the golden checkpoint, as the optimiser left them and averaged; the latter have no
/// names of their own.
struct Parts {
    live: Vec<Weight>,
    averages: Vec<Weight>,
}

impl Parts {
    fn read() -> Self {
        let file = TorchFile::open(Path::new(&golden_path("purrception.pth"))).unwrap();
        let pickle = file.pickle();
        let part = |name| pickle.get(pickle.root(), name).unwrap();
        let live = file.tensors(part("backbone_state_dict")).into_iter().map(|(name, view)| {
            let values = file.floats(&name, view).unwrap();
            Weight { name, shape: view.shape.clone(), values }
        });
        let live: Vec<Weight> = live.collect();
        let list = pickle.get(part("ema_state_dict"), "shadow_params").unwrap();
        let named = live.iter().filter(|weight| weight.name != "pos_embed");
        let averages = named.zip(pickle.items(list).unwrap()).map(|(weight, id)| {
            let values = file.floats("average", pickle.tensor(*id).unwrap()).unwrap();
            Weight { values, ..weight.clone() }
        });
        let averages = averages.collect();
        Self { live, averages }
    }

    fn renamed(&self, rename: impl Fn(&str) -> String) -> Self {
        let all = |weights: &[Weight]| {
            let renamed = weights.iter().cloned();
            renamed.map(|weight| Weight { name: rename(&weight.name), ..weight }).collect()
        };
        Self { live: all(&self.live), averages: all(&self.averages) }
    }
}

/// How averages are saved.
#[derive(Clone, Copy)]
enum Averages {
    /// As the reference does: a list without names.
    List,
    /// A dictionary in the list's place.
    Named,
    /// A dictionary right under `ema_state_dict`.
    Bare,
    /// A dictionary under `ema`, as the DiT's own trainer does.
    Ema,
}

/// A checkpoint under construction: its pickle, and its storages in order.
#[derive(Default)]
struct Checkpoint {
    pickle: PickleWriter,
    storages: Vec<(String, Vec<u8>)>,
}

impl Checkpoint {
    fn tensor(&mut self, Weight { shape, values, .. }: &Weight) {
        let key = self.storages.len().to_string();
        self.pickle.tensor("FloatStorage", &key, 0, shape, &row_major(shape));
        self.storages.push((key, values.iter().flat_map(|value| value.to_le_bytes()).collect()));
    }

    fn dictionary(&mut self, weights: &[Weight]) {
        self.pickle.raw(b"ccollections\nOrderedDict\n)R(");
        for weight in weights {
            self.pickle.text(&weight.name);
            self.tensor(weight);
        }
        self.pickle.raw(b"u");
    }

    fn of(parts: &Parts, averages: Averages, more: &[u8]) -> Self {
        let mut file = Self::default();
        file.pickle.raw(b"}(").text("backbone_state_dict");
        file.dictionary(&parts.live);
        file.pickle.text(if matches!(averages, Averages::Ema) { "ema" } else { "ema_state_dict" });
        match averages {
            Averages::List => {
                file.pickle.raw(b"}(").text("shadow_params").raw(b"](");
                parts.averages.iter().for_each(|weight| file.tensor(weight));
                file.pickle.raw(b"eu");
            }
            Averages::Named => {
                file.pickle.raw(b"}(").text("shadow_params");
                file.dictionary(&parts.averages);
                file.pickle.raw(b"u");
            }
            Averages::Bare | Averages::Ema => file.dictionary(&parts.averages),
        }
        file.pickle.raw(more).raw(b"u");
        file
    }

    fn zip(&self) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        write_zip(&mut file, &self.pickle.finish(), self.storages.iter().cloned());
        file.into_inner()
    }
}

/// A folder in which checkpoints are imported.
struct Bench {
    folder: tempfile::TempDir,
    hparams: PathBuf,
    tokenizer: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let [hparams, tokenizer] =
            ["purrception.hparams.json", "tokenizer_vqf8.ckpt"].map(|n| golden_path(n).into());
        Self { folder: tempfile::tempdir().unwrap(), hparams, tokenizer }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn import(&self, checkpoint: &Path, weights: Weights) -> Result<ModelCard, String> {
        let sources = Sources {
            checkpoint,
            hparams: &self.hparams,
            tokenizer: &self.tokenizer,
            weights,
            unit_codes: None,
            class_names: None,
        };
        let out = self.at("m.safetensors");
        import(&sources, &out, &AtomicBool::new(false)).map_err(|error| error.to_string())
    }

    /// Every tensor of the model that was imported last.
    fn numbers(&self) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let file = TensorFile::open(&self.at("m.safetensors")).unwrap();
        let all = file.entries().into_iter().map(|(name, ..)| {
            let (shape, values) = file.floats(&name).unwrap();
            (name, shape, values)
        });
        all.collect()
    }

    /// Imports the golden checkpoint.
    fn plain(&self, weights: Weights) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        self.import(Path::new(&golden_path("purrception.pth")), weights).unwrap();
        self.numbers()
    }

    /// What importing these bytes says.
    fn said(&self, bytes: &[u8], weights: Weights) -> Result<(), String> {
        let path = self.at("v.pth");
        fs::write(&path, bytes).unwrap();
        let said = self.import(&path, weights).map(drop);
        if let Err(error) = &said {
            assert!(error.contains("v.pth") && !error.contains('\n'), "{error}");
        }
        said
    }
}

#[test]
fn what_wrappers_put_before_names_is_seen_through() {
    let (bench, parts) = (Bench::new(), Parts::read());
    let plain = [Weights::Live, Weights::Ema].map(|weights| bench.plain(weights));
    let rename: [fn(&str) -> String; 7] = [
        |name| name.to_owned(),
        |name| format!("module.{name}"),
        |name| format!("_orig_mod.{name}"),
        |name| format!("module._orig_mod.{name}"),
        |name| format!("_orig_mod.module.model.{name}"),
        |name| format!("some.other.wrapper.{name}"),
        // Each block compiled on its own, in a data-parallel network.
        |name| format!("module.{}", name.replace("blocks.1.", "blocks.1._orig_mod.")),
    ];
    for rename in rename {
        let parts = parts.renamed(rename);
        let name = rename("x");
        bench.said(&Checkpoint::of(&parts, Averages::List, b"").zip(), Weights::Live).unwrap();
        assert!(bench.numbers() == plain[0], "{name}: other weights");
        for averages in [Averages::Named, Averages::Bare, Averages::Ema] {
            bench.said(&Checkpoint::of(&parts, averages, b"").zip(), Weights::Ema).unwrap();
            assert!(bench.numbers() == plain[1], "{name}: other averages");
        }
    }
    // A bare dictionary of weights.
    let mut bare = Checkpoint::default();
    bare.dictionary(&parts.renamed(|name| format!("module.{name}")).live);
    bench.said(&bare.zip(), Weights::Live).unwrap();
    assert!(bench.numbers() == plain[0]);
    let error = bench.said(&bare.zip(), Weights::Ema).unwrap_err();
    assert!(error.contains("no 'ema_state_dict.shadow_params'; the weights without"), "{error}");
}

#[test]
fn two_tensors_of_one_name_are_told() {
    let (bench, mut parts) = (Bench::new(), Parts::read());
    let twin = Weight { name: format!("module.{}", parts.live[3].name), ..parts.live[3].clone() };
    parts.live.push(twin);
    let error = bench.said(&Checkpoint::of(&parts, Averages::List, b"").zip(), Weights::Live);
    let (error, name) = (error.unwrap_err(), &parts.live[3].name);
    assert!(error.contains(&format!("are both '{name}'")) && error.contains("module."), "{error}");
}

/// Pickles of what frameworks leave in checkpoints, as Python writes them.
const BESIDE: [&[u8]; 22] = [
    b"c__builtin__\nlong\n",
    b"c__builtin__\nunicode\n",
    b"c__builtin__\nxrange\n(K\0K\x03K\x01tR",
    b"c__builtin__\ntype\n(NtR",
    b"cbuiltins\nEllipsis\n",
    b"c__builtin__\nset\n(](K\x01K\x02etR",
    b"c__builtin__\nbytearray\n(C\x01atR",
    b"ccollections\ndefaultdict\n(c__builtin__\nlong\ntRX\x01\0\0\0aK\x01s",
    b"cfunctools\npartial\n(ctorch._C._nn\ngelu\ntR(ctorch._C._nn\ngelu\n)}Ntb",
    b"c__builtin__\ngetattr\n(X\x03\0\0\0abcX\x05\0\0\0uppertR",
    b"coperator\nitemgetter\n(K\x01tR",
    b"c_io\nBytesIO\n)R(C\x01xK\0Ntb",
    b"cmine\nColour\n(K\x01tR",
    b"ctorch.nn.modules.linear\nLinear\n)\x81}(X\x08\0\0\0trainingI01\nub",
    b"}ctorch.nn\nLinear\n}X\x04\0\0\0bestK\x01ss",
    b"cdatetime\ndatetime\n(C\x0a\x07\xea\x0b\x1a\x0c\0\0\0\0\0tR",
    b"cpathlib\nPosixPath\n(X\x01\0\0\0/X\x01\0\0\0xtR",
    b"cargparse\nNamespace\n)\x81}(X\x02\0\0\0lrG\x3f\x1a\x36\xe2\xeb\x1c\x43\x2dub",
    b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(X\x02\0\0\0f8I0\nI1\ntRC\x080000000\x30tR",
    b"ctorch\ndevice\n(X\x04\0\0\0cudaK\0tR",
    b"ctorch.storage\n_load_from_bytes\n(C\x02\x80\x02tR",
    b"csignal\nSignals\n(K\x0ftR",
];

#[test]
fn what_frameworks_leave_beside_the_weights_is_passed_over() {
    let (bench, parts) = (Bench::new(), Parts::read());
    let plain = bench.plain(Weights::Ema);
    let mut all = PickleWriter::default();
    for (i, object) in BESIDE.iter().enumerate() {
        let mut one = PickleWriter::default();
        one.text("beside").raw(object);
        let checkpoint = Checkpoint::of(&parts, Averages::List, one.bytes());
        if let Err(error) = bench.said(&checkpoint.zip(), Weights::Ema) {
            panic!("{}: {error}", String::from_utf8_lossy(object));
        }
        all.text(&i.to_string()).raw(object);
    }
    bench.said(&Checkpoint::of(&parts, Averages::List, all.bytes()).zip(), Weights::Ema).unwrap();
    assert!(bench.numbers() == plain);
    // What would act is refused wherever it stands.
    let mut evil = PickleWriter::default();
    evil.text("hook").raw(b"cfunctools\npartial\n(cos\nsystem\nX\x04\0\0\0truetR");
    let error =
        bench.said(&Checkpoint::of(&parts, Averages::List, evil.bytes()).zip(), Weights::Ema);
    assert!(error.unwrap_err().contains("asks for 'os.system', which is refused"));
}

#[test]
fn foreign_objects_where_weights_are_wanted_are_named() {
    let bench = Bench::new();
    let said = |pickle: &[u8], weights| {
        let mut file = Checkpoint::default();
        file.pickle.raw(pickle);
        bench.said(&file.zip(), weights).unwrap_err()
    };
    const LINEAR: &[u8] = b"ctorch.nn.modules.linear\nLinear\n)\x81}b";
    let under = |key: &str, value: &[u8]| {
        let mut pickle = PickleWriter::default();
        pickle.raw(b"}").text(key).raw(value).raw(b"s");
        pickle.bytes().to_vec()
    };
    let linear = "an object of 'torch.nn.modules.linear.Linear'";
    for (pickle, weights, expected) in [
        (
            LINEAR.to_vec(),
            Weights::Ema,
            format!("no 'ema_state_dict.shadow_params': it holds {linear}"),
        ),
        (LINEAR.to_vec(), Weights::Live, format!("no 'backbone_state_dict': it holds {linear}")),
        (
            b"](K\x01K\x02e".to_vec(),
            Weights::Ema,
            "it holds a list, expected the dictionary".into(),
        ),
        (
            under("backbone_state_dict", LINEAR),
            Weights::Live,
            format!("'backbone_state_dict' is {linear}, expected a dictionary"),
        ),
        (under("ema_state_dict", b"N"), Weights::Ema, "'ema_state_dict' is nothing (None)".into()),
        (
            under("ema_state_dict", &under("shadow_params", LINEAR)),
            Weights::Ema,
            format!("'ema_state_dict.shadow_params' is {linear}, expected a list of tensors"),
        ),
        (b"}".to_vec(), Weights::Ema, "no 'ema_state_dict.shadow_params'; the weights".into()),
    ] {
        let error = said(&pickle, weights);
        assert!(error.contains(&expected), "{error}, expected {expected}");
    }
    // In the place of a single tensor.
    let mut parts = Parts::read();
    let lost = parts.live.remove(2).name;
    let mut file = Checkpoint::default();
    file.pickle.raw(b"}").text("backbone_state_dict");
    file.dictionary(&parts.live);
    file.pickle.text(&lost).raw(LINEAR).raw(b"ss");
    let error = bench.said(&file.zip(), Weights::Live).unwrap_err();
    let expected = format!("'backbone_state_dict.{lost}' is {linear}, expected a tensor");
    assert!(error.contains(&expected), "{error}, expected {expected}");
}

#[test]
fn files_from_before_the_zip_are_read() {
    let (bench, parts) = (Bench::new(), Parts::read());
    let plain = [Weights::Live, Weights::Ema].map(|weights| bench.plain(weights));
    let file = Checkpoint::of(&parts, Averages::List, b"");
    let legacy = |little| {
        let mut bytes = Vec::new();
        write_legacy(&mut bytes, &file.pickle.finish(), little, file.storages.iter().cloned());
        bytes
    };
    let bytes = legacy(true);
    for (weights, plain) in [Weights::Live, Weights::Ema].into_iter().zip(plain) {
        bench.said(&bytes, weights).unwrap();
        assert!(bench.numbers() == plain, "{weights}");
    }
    assert!(bench.said(&legacy(false), Weights::Ema).unwrap_err().contains("big-endian"));
    for percent in 0..100 {
        bench.said(&bytes[..bytes.len() * percent / 100], Weights::Ema).unwrap_err();
    }
}

/// A zip of stored entries.
fn zip_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in entries {
        zip.start_file(*name, stored).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn the_true_pickle_of_a_zip_is_found() {
    let bench = Bench::new();
    let file = Checkpoint::of(&Parts::read(), Averages::List, b"");
    let pickle = file.pickle.finish();
    let names: Vec<String> =
        file.storages.iter().map(|(key, _)| format!("archive/data/{key}")).collect();
    let data = names.iter().zip(&file.storages).map(|(name, (_, bytes))| (&**name, &bytes[..]));
    let data: Vec<(&str, &[u8])> = data.collect();
    let with = |more: &[(&str, &[u8])]| {
        let all = [more, &data, &[("archive/data.pkl", &pickle[..])]].concat();
        bench.said(&zip_of(&all), Weights::Ema)
    };
    let junk = b"junk".as_slice();
    let mac = [("__MACOSX/._data.pkl", junk), ("__MACOSX/archive/data.pkl", junk)];
    assert_eq!(with(&mac), Ok(()));
    assert_eq!(with(&[("archive/nested/data.pkl", junk), ("x-data.pkl", junk)]), Ok(()));
    assert_eq!(with(&[("archive/byteorder", b"little")]), Ok(()));
    let error = with(&[("archive/byteorder", b"big")]).unwrap_err();
    assert!(error.contains("big-endian"), "{error}");
    let error = with(&[("archive/constants.pkl", junk)]).unwrap_err();
    assert!(error.contains("TorchScript"), "{error}");
    let error = bench.said(&zip_of(&[("readme.txt", junk)]), Weights::Ema).unwrap_err();
    assert!(error.contains("without an entry data.pkl; it begins with 'readme.txt'"), "{error}");
}

/// Tensors of the golden tokenizer in a safetensors file.
fn tokenizer_tensors(rename: impl Fn(&str) -> String) -> TensorWriter {
    let file = TorchFile::open(Path::new(&golden_path("tokenizer_vqf8.ckpt"))).unwrap();
    let mut writer = TensorWriter::default();
    let dictionary = file.pickle().get(file.pickle().root(), "state_dict").unwrap();
    for (name, view) in file.tensors(dictionary) {
        if let Ok(values) = file.floats(&name, view) {
            writer.floats(&rename(&name), &view.shape, &values, Precision::F32);
        }
    }
    writer
}

#[test]
fn safetensors_are_known_by_their_content() {
    let mut bench = Bench::new();
    let plain = bench.plain(Weights::Live);
    for (name, prefix) in [
        ("vq.SAFETENSORS", ""),
        ("vq.bin", "first_stage_model."),
        ("vq", "module._orig_mod."),
        ("vq.pt", "model.first_stage_model."),
        ("vq.safetensors", "net.vq."),
    ] {
        let path = bench.at(name);
        tokenizer_tensors(|own| format!("{prefix}{own}")).write(&path).unwrap();
        bench.tokenizer = path;
        bench.plain(Weights::Live);
        assert!(bench.numbers() == plain, "{name}");
    }
    // A backbone on its own has one set of weights.
    let mut writer = TensorWriter::default();
    for Weight { name, shape, values } in Parts::read().live {
        writer.floats(&format!("_orig_mod.{name}"), &shape, &values, Precision::F32);
    }
    let path = bench.at("backbone.safetensors");
    writer.write(&path).unwrap();
    bench.import(&path, Weights::Live).unwrap();
    assert!(bench.numbers() == plain);
    let error = bench.import(&path, Weights::Ema).unwrap_err();
    assert!(error.contains("no 'ema_state_dict.shadow_params'"), "{error}");
    // A model needs no import.
    fs::rename(bench.at("m.safetensors"), bench.at("made.safetensors")).unwrap();
    let error = bench.import(&bench.at("made.safetensors"), Weights::Live).unwrap_err();
    assert!(error.contains("made.safetensors: it is a model already"), "{error}");
}

/// The groups of our own tokenizers are not the 32 that both families have.
#[test]
fn our_own_tokenizers_and_models_are_taken_as_they_describe_themselves() {
    let mut bench = Bench::new();
    let config = TokenizerConfig {
        image_channels: 3,
        channels: 16,
        multipliers: vec![1, 2],
        residual_blocks: 1,
        attention: false,
        attention_levels: None,
        groups: 4,
        latent_channels: 8,
        code_size: 4,
        codes: 37,
        l2_normalised: true,
    };
    let tokenizer = Tokenizer::new(&config, &mut Initialiser::new(3, &cpu()));
    let card = TokenizerCard {
        format: TokenizerCard::FORMAT,
        tokenizer: config.clone(),
        program: String::new(),
        steps: 7,
    };
    let mut writer = TensorWriter::default();
    writer.metadata(METADATA_KEY, serde_json::to_string(&card).unwrap());
    for named in params::collect(&tokenizer, tokenizer_name) {
        writer.floats(&named.name, &named.shape, &named.values, Precision::F32);
    }
    bench.tokenizer = bench.at("tokenizer.safetensors");
    writer.write(&bench.tokenizer).unwrap();
    let golden = PathBuf::from(golden_path("purrception.pth"));
    assert_eq!(bench.import(&golden, Weights::Ema).unwrap().tokenizer, config);
    let first = bench.numbers();
    bench.tokenizer = bench.at("whole.safetensors");
    fs::rename(bench.at("m.safetensors"), &bench.tokenizer).unwrap();
    assert_eq!(bench.import(&golden, Weights::Ema).unwrap().tokenizer, config);
    assert!(bench.numbers() == first);
    // A run's checkpoint has the tensors, but not the description.
    writer.floats("adam.step", &[1], &[1.0], Precision::F32);
    bench.tokenizer = bench.at("checkpoint.safetensors");
    writer.write(&bench.tokenizer).unwrap();
    let error = bench.import(&golden, Weights::Ema).unwrap_err();
    assert!(
        error.contains("checkpoint.safetensors: it is a checkpoint of a training run"),
        "{error}"
    );
}

#[test]
fn hyper_parameters_are_read_as_python_writes_them() {
    let mut bench = Bench::new();
    let golden = PathBuf::from(golden_path("purrception.pth"));
    let text = fs::read_to_string(&bench.hparams).unwrap();
    assert!(text.contains("\"mlp_ratio\": 4"), "{text}");
    bench.hparams = bench.at("h.json");
    let with = |text: String| {
        fs::write(bench.at("h.json"), text).unwrap();
        bench.import(&golden, Weights::Ema)
    };
    let more =
        text.replacen('{', "\u{feff}{\"best_loss\": Infinity, \"notes\": [NaN, -Infinity], ", 1);
    with(more).unwrap();
    for (ratio, expected) in [
        ("4.51", "h.json: backbone.mlp_ratio 4.51 of 48 is 216.48, not a whole width"),
        ("0", "h.json: backbone.mlp_ratio is 0"),
        ("NaN", "h.json: NaN or Infinity stands where a number is needed"),
        // A whole width, but not that of the weights.
        ("4.5", "(blocks.0.mlp.fc1.weight)' is [192, 48], expected [216, 48]"),
    ] {
        let error = with(text.replace("\"mlp_ratio\": 4", &format!("\"mlp_ratio\": {ratio}")));
        let error = error.unwrap_err();
        assert!(error.contains(expected), "{error}, expected {expected}");
    }
    for (key, value) in [("depth", "1000000000"), ("num_classes", "1000000000000")] {
        let at = text.find(&format!("\"{key}\": ")).unwrap() + key.len() + 4;
        let end = at + text[at..].find([',', '}']).unwrap();
        let error = with(format!("{}{value}{}", &text[..at], &text[end..])).unwrap_err();
        assert!(error.contains(&format!("h.json: backbone.{key} is {value}")), "{error}");
    }
}

#[test]
fn broken_ratios_of_mlps_are_honoured() {
    let bench = Bench::new();
    // Every second channel more in each MLP.
    let widen = |weight: Weight| {
        let (from, to) = (192, 216);
        let mut shape = weight.shape.clone();
        for side in &mut shape {
            if weight.name.contains(".mlp.fc") && *side == from {
                *side = to;
            }
        }
        let values = (0..shape.iter().product()).map(|i| (i % 7) as f32 * 0.01).collect();
        Weight { shape, values, ..weight }
    };
    let Parts { live, averages } = Parts::read();
    let parts = Parts {
        live: live.into_iter().map(widen).collect(),
        averages: averages.into_iter().map(widen).collect(),
    };
    let text = fs::read_to_string(&bench.hparams).unwrap();
    let hparams = bench.at("h.json");
    fs::write(&hparams, text.replace("\"mlp_ratio\": 4", "\"mlp_ratio\": 4.5")).unwrap();
    let bench = Bench { hparams, ..bench };
    bench.said(&Checkpoint::of(&parts, Averages::List, b"").zip(), Weights::Live).unwrap();
    let model = Model::open(&bench.at("m.safetensors"), &cpu()).unwrap();
    assert_eq!((model.card.backbone.mlp_ratio, model.card.backbone.mlp_width()), (4.5, 216));
}

#[test]
fn an_import_writes_over_none_of_its_sources() {
    let bench = Bench::new();
    let at = bench.folder.path();
    for (from, to) in [
        ("purrception.pth", "m.pth"),
        ("purrception.pth", "odd.safetensors"),
        ("purrception.hparams.json", "h.json"),
        ("tokenizer_vqf8.ckpt", "vq.ckpt"),
    ] {
        fs::copy(golden_path(from), at.join(to)).unwrap();
    }
    let run = |checkpoint: &str, out: &str, expected: &str| {
        let arguments =
            ["import", checkpoint, "--hparams", "h.json", "--tokenizer", "vq.ckpt", "--out", out];
        let before = fs::read(at.join(checkpoint)).unwrap();
        fail(at, &arguments, 1, expected);
        assert!(fs::read(at.join(checkpoint)).unwrap() == before, "{out}");
    };
    run("m.pth", "m.pth", "let the name end in .safetensors");
    run("odd.safetensors", "odd.safetensors", "which the command uses");
    run("odd.safetensors", "./odd.safetensors", "which the command uses");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(at.join("m.pth"), at.join("link.safetensors")).unwrap();
        fs::hard_link(at.join("m.pth"), at.join("hard.safetensors")).unwrap();
        run("m.pth", "link.safetensors", "which the command uses");
        run("m.pth", "hard.safetensors", "which the command uses");
    }
    fs::create_dir(at.join("d.safetensors")).unwrap();
    run("m.pth", "d.safetensors", "this is a folder; name a file");
    fs::write(at.join("file"), b"").unwrap();
    run("m.pth", "file/m.safetensors", "cannot write to file");
    let arguments = ["import", "m.pth", "--hparams", "h.json", "--tokenizer", "vq.ckpt", "--out"];
    succeed(at, &[&arguments[..], &["a/b/M.SAFETENSORS"]].concat());
    Model::open(&at.join("a/b/M.SAFETENSORS"), &cpu()).unwrap();
}

#[test]
fn class_names_are_read_as_they_are_passed_around() {
    let bench = Bench::new();
    let at = bench.folder.path();
    let dictionary = "{\"0\": [\"n1\", \"tench\"], \"1\": [\"n2\", \"goldfish\"], \"2\": [\"n3\", \"shark\"], \
                      \"4\": [\"n5\", \"ray\"], \"3\": [\"n4\", \"hammerhead\"]}";
    let wide: Vec<u8> = "\u{feff}tench\r\ngoldfish\r\nshark\r\nhammerhead\r\nray\r\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let golden = golden_path("purrception.pth");
    for bytes in [dictionary.as_bytes(), &wide] {
        fs::write(at.join("names"), bytes).unwrap();
        let sources = Sources {
            checkpoint: Path::new(&golden),
            hparams: &bench.hparams,
            tokenizer: &bench.tokenizer,
            weights: Weights::Ema,
            unit_codes: None,
            class_names: Some(&at.join("names")),
        };
        let out = at.join("m.safetensors");
        let card = import(&sources, &out, &AtomicBool::new(false)).unwrap();
        assert_eq!(card.class_names, ["tench", "goldfish", "shark", "hammerhead", "ray"]);
    }
}

#[test]
fn legacy_files_are_inspected() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = Checkpoint::default();
    file.pickle.raw(b"}").text("a");
    file.tensor(&Weight { name: String::new(), shape: vec![2, 1], values: vec![1.0, 2.0] });
    file.pickle.raw(b"s");
    let out = File::create(folder.path().join("old.bin")).unwrap();
    write_legacy(out, &file.pickle.finish(), true, file.storages.iter().cloned());
    let said = succeed(folder.path(), &["inspect", "old.bin"]);
    assert!(said.contains("pytorch") && said.contains("[2, 1]"), "{said}");
}
