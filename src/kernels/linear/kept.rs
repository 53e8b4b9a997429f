//! Weights that are laid out once for many products.
//!
//! While a model samples, its weights are the same at every step, and laying them out again takes a twentieth of
//! it. While it trains they change, and the buffer of a weight with them: whoever changes numbers of burn's CPU
//! backend in place holds the only reference to their buffer, and gets another one for it where a [`Weak`] is left.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use burn::tensor::Bytes;

use super::product::{Matrix, Panels};

/// Bytes that weights may take once more.
const MOST: usize = 512 << 20;

/// A weight that was seen, and what it is laid out as once it was seen again.
struct Kept {
    weight: Weak<Bytes>,
    panels: Option<Arc<Panels>>,
}

static KEPT: Mutex<Vec<Kept>> = Mutex::new(Vec::new());

/// A weight laid out, `right` being all of what is in its buffer: kept from an earlier product where it is the
/// same weight, and for a later one from the second time on.
pub fn panels(weight: &Arc<Bytes>, right: Matrix<'_>) -> Arc<Panels> {
    let lay_out = || Arc::new(Panels::new(right));
    let is_it = |kept: &Kept| std::ptr::eq(kept.weight.as_ptr(), Arc::as_ptr(weight));
    let mut all = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(at) = all.iter().position(is_it) else {
        forget(&mut all);
        all.push(Kept { weight: Arc::downgrade(weight), panels: None });
        drop(all);
        return lay_out();
    };
    if let Some(panels) = &all[at].panels {
        return Arc::clone(panels);
    }
    let taken: usize = all.iter().flat_map(|kept| &kept.panels).map(|panels| panels.bytes()).sum();
    let has_room = taken + weight.len() <= MOST;
    // Others need not wait for it.
    drop(all);
    let panels = lay_out();
    if has_room {
        let mut all = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = all.iter_mut().find(|kept| is_it(kept)) {
            kept.panels = Some(Arc::clone(&panels));
        }
    }
    panels
}

/// Gives back the memory of weights that are no more.
pub fn forget_unused() {
    forget(&mut KEPT.lock().unwrap_or_else(PoisonError::into_inner));
}

fn forget(all: &mut Vec<Kept>) {
    all.retain(|kept| kept.weight.strong_count() > 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_laid_out_anew_until_it_is_seen_again_and_forgotten_once_it_is_gone() {
        let numbers: Vec<f32> = (0..6 * 40).map(|i| i as f32).collect();
        let right = || Matrix::new(&numbers, 6, 40);
        let mut weight = Arc::new(Bytes::from_elems(numbers.clone()));
        let first = panels(&weight, right());
        let second = panels(&weight, right());
        assert!(!Arc::ptr_eq(&first, &second));
        assert!(Arc::ptr_eq(&second, &panels(&weight, right())));
        // Numbers that are changed in place are another weight.
        let before = Arc::as_ptr(&weight);
        Arc::make_mut(&mut weight)[0] ^= 1;
        assert_ne!(Arc::as_ptr(&weight), before);
        assert!(!Arc::ptr_eq(&second, &panels(&weight, right())));
        let (third, held) = (panels(&weight, right()), Arc::downgrade(&weight));
        assert_eq!(Arc::strong_count(&third), 2);
        drop(weight);
        forget_unused();
        assert_eq!((Arc::strong_count(&third), held.strong_count()), (1, 0));
    }
}
