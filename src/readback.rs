//! Bringing numbers from a device to the host. All of it happens here, so that it can be told how often
//! a computation waits for its device: every read does, until all work before it is done.

use std::cell::Cell;
use std::vec::IntoIter;

use burn::tensor::kind::Transaction as Readable;
use burn::tensor::{Int, Tensor, TensorData, Transaction};

thread_local! {
    static WAITS: Cell<u64> = const { Cell::new(0) };
}

/// How often this thread has waited for a device to give numbers back. Tensors that are read
/// [together](Together) count once.
pub fn waits() -> u64 {
    WAITS.get()
}

/// The numbers of a tensor, read to the host.
///
/// # Panics
/// They cannot be read, as when the device was lost; [`crate::device::guard`] makes an error of that.
pub fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    Together::default().with(tensor).read().floats()
}

/// As [`floats`], for integers.
pub fn integers<const D: usize>(tensor: Tensor<D, Int>) -> Vec<i64> {
    Together::default().with(tensor).read().integers()
}

/// Tensors of one device that are read to the host together, with a single wait.
#[derive(Default)]
pub struct Together {
    transaction: Transaction,
    count: usize,
}

impl Together {
    /// With one more tensor.
    pub fn with<const D: usize, K: Readable>(self, tensor: Tensor<D, K>) -> Self {
        Self { transaction: self.transaction.register(tensor), count: self.count + 1 }
    }

    /// Waits for the device, and takes the numbers.
    ///
    /// # Panics
    /// They cannot be read, as when the device was lost; [`crate::device::guard`] makes an error of
    /// that.
    pub fn read(self) -> Numbers {
        if self.count == 0 {
            return Numbers(Vec::new().into_iter());
        }
        WAITS.set(WAITS.get() + 1);
        match self.transaction.try_execute() {
            Ok(tensors) => Numbers(tensors.into_iter()),
            Err(error) => panic!("numbers could not be read back from the device: {error}"),
        }
    }
}

/// The numbers of tensors that were read together, to be taken in the order in which they were named.
pub struct Numbers(IntoIter<TensorData>);

impl Numbers {
    /// Those of the next tensor.
    ///
    /// # Panics
    /// There is none, or they are of a kind that cannot be made into this one.
    pub fn floats(&mut self) -> Vec<f32> {
        self.next(TensorData::try_into_vec_as::<f32>)
    }

    /// As [`Numbers::floats`], for integers.
    pub fn integers(&mut self) -> Vec<i64> {
        self.next(TensorData::try_into_vec_as::<i64>)
    }

    /// As [`Numbers::floats`], for codes.
    pub fn codes(&mut self) -> Vec<u32> {
        self.integers().into_iter().map(|code| code as u32).collect()
    }

    fn next<T>(
        &mut self,
        numbers: impl FnOnce(TensorData) -> Result<T, burn::tensor::DataError>,
    ) -> T {
        match self.0.next().map(numbers) {
            Some(Ok(numbers)) => numbers,
            Some(Err(error)) => panic!("a tensor is not of the kind that it is read as: {error}"),
            None => panic!("more tensors are taken than were read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn tensors_that_are_read_together_count_once() {
        let device = Device::flex();
        let numbers = Tensor::<1>::from_floats([0.5, -2.0], &device);
        let codes = Tensor::<1, Int>::from_data([3, 1, 2], &device);
        let before = waits();
        let mut read = Together::default().with(codes.clone()).with(numbers.clone()).read();
        assert_eq!(read.codes(), [3, 1, 2]);
        assert_eq!(read.floats(), [0.5, -2.0]);
        assert_eq!(waits() - before, 1);
        assert_eq!((floats(numbers), integers(codes)), (vec![0.5, -2.0], vec![3, 1, 2]));
        assert_eq!(waits() - before, 3);
        drop(Together::default().read());
        assert_eq!(waits() - before, 3, "nothing is waited for where nothing is read");
        let elsewhere = std::thread::spawn(waits).join().unwrap();
        assert_eq!(elsewhere, 0, "a thread counts its own waits");
    }
}
