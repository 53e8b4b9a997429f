//! Parameters by name: out of modules into files, and back.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Device, FloatDType, Gradients, Tensor, TensorData};

use crate::io::tensors::Numbers;

pub use crate::readback::floats as host;

/// A naming of parameters: the path of a field to the name in files.
pub type Naming = fn(&str) -> String;

/// Name, shape and numbers of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Name in files.
    pub name: String,
    /// Extents.
    pub shape: Vec<usize>,
    /// Numbers, row-major.
    pub values: Vec<f32>,
}

#[derive(Default)]
struct PathStack(Vec<String>);

impl PathStack {
    fn name(&self, naming: Naming) -> String {
        naming(&self.0.join("."))
    }
}

/// Every parameter of a module, in the order of its fields.
pub fn collect<M: Module>(module: &M, naming: Naming) -> Vec<NamedTensor> {
    struct Collector {
        path: PathStack,
        naming: Naming,
        found: Vec<NamedTensor>,
    }
    impl ModuleVisitor for Collector {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.0.push(name.to_owned());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.0.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let tensor = param.val();
            self.found.push(NamedTensor {
                name: self.path.name(self.naming),
                shape: tensor.dims().to_vec(),
                values: host(tensor),
            });
        }
    }
    let mut collector = Collector { path: PathStack::default(), naming, found: Vec::new() };
    module.visit(&mut collector);
    collector.found
}

/// The gradients of those parameters of a module whose names are `wanted`, in the order of its fields;
/// parameters that have none are left out.
pub fn gradients<M: Module>(
    module: &M,
    naming: Naming,
    gradients: &Gradients,
    wanted: impl Fn(&str) -> bool,
) -> Vec<NamedTensor> {
    struct Reader<'a, F> {
        path: PathStack,
        naming: Naming,
        gradients: &'a Gradients,
        wanted: F,
        found: Vec<NamedTensor>,
    }
    impl<F: Fn(&str) -> bool> ModuleVisitor for Reader<'_, F> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.0.push(name.to_owned());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.0.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let name = self.path.name(self.naming);
            if !(self.wanted)(&name) {
                return;
            }
            if let Some(gradient) = param.val().grad(self.gradients) {
                let shape = gradient.dims().to_vec();
                self.found.push(NamedTensor { name, shape, values: host(gradient) });
            }
        }
    }
    let path = PathStack::default();
    let mut reader = Reader { path, naming, gradients, wanted, found: Vec::new() };
    module.visit(&mut reader);
    reader.found
}

/// The module with copies in half precision of the parameters whose paths are `chosen`; gradients of what
/// it gives arrive at the parameters themselves, in their own precision.
pub fn halved<M: Module>(module: &M, chosen: fn(&str) -> bool) -> M {
    struct Halver {
        path: PathStack,
        chosen: fn(&str) -> bool,
    }
    impl ModuleMapper for Halver {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.0.push(name.to_owned());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.0.pop();
        }

        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            match (self.chosen)(&self.path.0.join(".")) {
                true => Param::initialized(param.id, param.val().cast(FloatDType::F16)),
                false => param,
            }
        }
    }
    module.clone().map(&mut Halver { path: PathStack::default(), chosen })
}

/// Name and shape of every parameter of a module, in the order of its fields; blank ones stay blank.
pub fn shapes<M: Module>(module: &M, naming: Naming) -> Vec<(String, Vec<usize>)> {
    struct Reader {
        path: PathStack,
        naming: Naming,
        found: Vec<(String, Vec<usize>)>,
    }
    impl ModuleVisitor for Reader {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.0.push(name.to_owned());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.0.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let shape: [usize; D] = param.lazy_shape().dims();
            self.found.push((self.path.name(self.naming), shape.to_vec()));
        }
    }
    let mut reader = Reader { path: PathStack::default(), naming, found: Vec::new() };
    module.visit(&mut reader);
    reader.found
}

/// Puts numbers on a device, in their own precision.
pub fn upload<const D: usize>(numbers: Numbers, shape: [usize; D], device: &Device) -> Tensor<D> {
    match numbers {
        Numbers::F32(values) => {
            Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
        }
        Numbers::F16(values) => {
            Tensor::from_data(TensorData::new(values, shape), (device, DType::F16))
        }
    }
}

/// Gives every parameter the numbers that `source` has for its name and shape, on `device` and in their
/// own precision.
///
/// # Errors
/// The first error of `source`; parameters after it are left as they were.
pub fn load<M: Module, N: Into<Numbers>, E>(
    module: M,
    naming: Naming,
    device: &Device,
    source: impl FnMut(&str, &[usize]) -> Result<N, E>,
) -> Result<M, E> {
    struct Loader<'a, F, E> {
        path: PathStack,
        naming: Naming,
        device: &'a Device,
        source: F,
        failed: Option<E>,
    }
    impl<E, N: Into<Numbers>, F: FnMut(&str, &[usize]) -> Result<N, E>> ModuleMapper
        for Loader<'_, F, E>
    {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.0.push(name.to_owned());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.0.pop();
        }

        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if self.failed.is_some() {
                return param;
            }
            let shape: [usize; D] = param.lazy_shape().dims();
            match (self.source)(&self.path.name(self.naming), &shape) {
                Ok(numbers) => {
                    let tensor = upload(numbers.into(), shape, self.device);
                    // On an autodiff device parameters are what gradients are taken of.
                    let leaf = self.device.is_autodiff();
                    Param::initialized(param.id, tensor.set_require_grad(leaf))
                }
                Err(error) => {
                    self.failed = Some(error);
                    param
                }
            }
        }
    }
    let mut loader = Loader { path: PathStack::default(), naming, device, source, failed: None };
    let module = module.map(&mut loader);
    match loader.failed {
        Some(error) => Err(error),
        None => Ok(module),
    }
}
