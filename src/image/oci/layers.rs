//! Which layer each node is in.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::settings::refused;
use crate::image::ImageError;
use crate::tree::{Node, NodeKind, TreePath, ValidTree};

/// How a tree is divided into layers.
#[derive(Clone)]
pub struct Layers<'a> {
    names: Vec<String>,
    layer_of: &'a dyn Fn(&TreePath, &Node) -> usize,
}

impl<'a> Layers<'a> {
    /// Layers by name, the lowest first; the history of the image shows the names. `layer_of` gives the place in
    /// `names` of the layer that a node belongs to. It is asked for everything but directories that hold something,
    /// and for each name of a file.
    pub fn new(names: Vec<String>, layer_of: &'a dyn Fn(&TreePath, &Node) -> usize) -> Self {
        Self { names, layer_of }
    }

    /// Decides for every node.
    pub(super) fn assign<'t>(&'t self, tree: &'t ValidTree) -> Result<Assignment<'t>, ImageError> {
        let mut holding = BTreeSet::new();
        for (path, _) in tree.iter() {
            // What a directory holds mostly stands together.
            if let Some(parent) = path.parent() {
                holding.insert(parent);
            }
        }
        let mut layers = BTreeMap::new();
        for (path, node) in tree.iter() {
            if matches!(node.kind, NodeKind::Directory) && holding.contains(path) {
                continue;
            }
            let number = (self.layer_of)(path, node);
            if number >= self.names.len() {
                let count = self.names.len();
                return Err(refused(format!("{path} is to be in layer {number}, and there are {count}")));
            }
            layers.insert(path, number);
        }
        for names in tree.hardlink_groups().into_values() {
            let highest = names.iter().filter_map(|name| layers.get(name)).max().copied();
            for (name, number) in names.into_iter().zip(std::iter::repeat(highest)) {
                layers.extend(number.map(|number| (name, number)));
            }
        }
        Ok(Assignment { names: &self.names, layers })
    }
}

impl Default for Layers<'_> {
    /// One layer for everything.
    fn default() -> Self {
        Self { names: vec!["image".to_owned()], layer_of: &|_, _| 0 }
    }
}

impl fmt::Debug for Layers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layers").field("names", &self.names).finish_non_exhaustive()
    }
}

/// The layer of each node that is asked for by itself: the directories above come with it.
pub(super) struct Assignment<'t> {
    names: &'t [String],
    layers: BTreeMap<&'t TreePath, usize>,
}

impl Assignment<'_> {
    /// The layers that something is in, the lowest first.
    pub(super) fn layers(&self) -> impl Iterator<Item = (usize, &str)> {
        let used: BTreeSet<usize> = self.layers.values().copied().collect();
        self.names
            .iter()
            .enumerate()
            .filter(move |(number, _)| used.contains(number))
            .map(|(number, name)| (number, name.as_str()))
    }

    pub(super) fn is_in(&self, path: &TreePath, layer: usize) -> bool {
        self.layers.get(path) == Some(&layer)
    }
}
