//! What was worked out last, by what it was worked out from.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::mem;
use std::sync::Arc;

/// The values asked for last: when the young half is full, it becomes the old half, and what is not
/// asked for again goes with the next.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    young: HashMap<K, Arc<V>>,
    old: HashMap<K, Arc<V>>,
}

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<K: Eq + Hash, V> Cache<K, V> {
    const HALF: usize = 128;

    pub(crate) fn get<Q>(&mut self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if let Some(known) = self.young.get(key) {
            return Some(Arc::clone(known));
        }
        let (key, known) = self.old.remove_entry(key)?;
        self.insert(key, &known);
        Some(known)
    }

    pub(crate) fn insert(&mut self, key: K, value: &Arc<V>) {
        if self.young.len() == Self::HALF {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, Arc::clone(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays() {
        let mut cache = Cache::default();
        let first = Arc::new("first");
        cache.insert(usize::MAX, &first);
        for key in 0..10 * Cache::<usize, &str>::HALF {
            cache.insert(key, &Arc::new("later"));
            assert!(Arc::ptr_eq(&first, &cache.get(&usize::MAX).unwrap()));
        }
    }

    #[test]
    fn it_does_not_grow() {
        let mut cache = Cache::default();
        for key in 0..1_000 {
            cache.insert(key, &Arc::new(key));
        }
        assert!(cache.young.len() + cache.old.len() <= 2 * Cache::<usize, usize>::HALF);
        assert_eq!(cache.get(&0), None);
    }
}
