//! Finding the places where a graph can be cut.
//!
//! A cut is a position in the order of the steps; what crosses it is every tensor alive there.
//! Every place through which all data flows in one tensor is such a position in any topological
//! order (all of the tail depends on that tensor, so none of it can come earlier), and where the
//! graph has no narrow place the same rule gives cuts of several tensors.

use super::fusion::splits_group;
use super::proto::data_type;
use super::shapes::Shapes;
use super::topology::{Life, Topology};
use crate::{ElementType, TensorSpec};

/// Most tensors that may cross a cut.
pub const MAX_CUT_TENSORS: usize = 8;
/// Most inner rows of a cut table.
pub const MAX_CUTS: usize = 96;
/// Cuts closer than one in so many of all operations are the same cut; the smaller one stays.
const MIN_SPACING: u64 = 1000;

/// A place to cut.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CutPoint {
    /// Steps of the head.
    pub(crate) position: usize,
    /// What crosses.
    pub(crate) tensors: Vec<TensorSpec>,
    /// Operations of the head.
    pub(crate) flops_before: u64,
}

impl CutPoint {
    fn elements(&self) -> usize {
        let each = self.tensors.iter().map(TensorSpec::elements);
        each.fold(0, usize::saturating_add)
    }
}

/// The inner cuts of a graph, in order; those before the first and after the last step are not
/// among them. `flops` has one entry a step.
pub(crate) fn find(topology: &Topology<'_>, shapes: &Shapes, flops: &[u64]) -> Vec<CutPoint> {
    let mut found = Vec::new();
    let mut flops_before = 0;
    for position in 1..topology.len() {
        flops_before = u64::saturating_add(flops_before, flops[position - 1]);
        if let Some(tensors) = crossing(topology, shapes, position) {
            found.push(CutPoint {
                position,
                tensors,
                flops_before,
            });
        }
    }
    let total = flops.iter().copied().fold(0, u64::saturating_add);
    let mut spacing = total / MIN_SPACING;
    loop {
        let kept = thin(&found, spacing);
        if kept.len() <= MAX_CUTS {
            return kept;
        }
        spacing += spacing / 2 + 1;
    }
}

/// What crosses at `position`, or none if a tensor there cannot be sent or splits a group.
fn crossing(topology: &Topology<'_>, shapes: &Shapes, position: usize) -> Option<Vec<TensorSpec>> {
    let live = topology.live(position);
    if live.is_empty() || live.len() > MAX_CUT_TENSORS {
        return None;
    }
    live.into_iter()
        .map(|life| {
            if splits_group(topology, life, position) {
                return None;
            }
            let (element, shape) = shapes.get(life.name)?;
            let sendable = *element == data_type::FLOAT
                || dequantised_name(topology, life, position).is_some();
            let name =
                dequantised_name(topology, life, position).unwrap_or_else(|| life.name.to_owned());
            let spec = TensorSpec {
                name,
                element: ElementType::F32,
                shape: shape.clone(),
            };
            let has_elements = !shape.is_empty() && !shape.contains(&0);
            (sendable && has_elements && spec.check_bounds().is_ok()).then_some(spec)
        })
        .collect()
}

/// The name under which an integer tensor crosses: the output of a `QuantizeLinear` that is read
/// by nothing but `DequantizeLinear` is sent dequantised, and both sides hold the whole pair.
pub(crate) fn dequantised_name(
    topology: &Topology<'_>,
    life: &Life<'_>,
    position: usize,
) -> Option<String> {
    let maker = topology.step(life.maker?);
    let pairs = maker.op() == "QuantizeLinear"
        && !life.is_output
        && life
            .readers
            .iter()
            .filter(|&&reader| reader >= position)
            .all(|&reader| topology.step(reader).op() == "DequantizeLinear");
    pairs.then(|| format!("{}/dequantised", life.name))
}

/// Keeps the smallest cuts, among equals those of fewer tensors, then the earlier, more than
/// `spacing` operations apart.
fn thin(found: &[CutPoint], spacing: u64) -> Vec<CutPoint> {
    let mut by_size: Vec<&CutPoint> = found.iter().collect();
    by_size.sort_by_key(|cut| (cut.elements(), cut.tensors.len(), cut.position));
    let mut kept: Vec<&CutPoint> = Vec::new();
    for cut in by_size {
        if kept
            .iter()
            .all(|k| k.flops_before.abs_diff(cut.flops_before) > spacing)
        {
            kept.push(cut);
        }
    }
    kept.sort_by_key(|cut| cut.position);
    kept.into_iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(position: usize, elements: &[usize], flops_before: u64) -> CutPoint {
        let tensor = |&elements: &usize| TensorSpec {
            name: "t".to_owned(),
            element: ElementType::F32,
            shape: vec![elements],
        };
        CutPoint {
            position,
            tensors: elements.iter().map(tensor).collect(),
            flops_before,
        }
    }

    fn positions(kept: &[CutPoint]) -> Vec<usize> {
        kept.iter().map(|cut| cut.position).collect()
    }

    #[test]
    fn of_cuts_close_together_the_smallest_stays() {
        let found = [cut(1, &[90], 100), cut(2, &[50], 104), cut(3, &[70], 108)];
        assert_eq!(positions(&thin(&found, 5)), [2]);
        assert_eq!(positions(&thin(&found, 4)), [2]);
        assert_eq!(positions(&thin(&found, 3)), [1, 2, 3]);
    }

    #[test]
    fn of_equal_cuts_the_one_of_fewer_tensors_stays_then_the_earlier() {
        let found = [cut(1, &[30, 20], 9), cut(2, &[50], 9), cut(3, &[50], 9)];
        assert_eq!(positions(&thin(&found, 0)), [2]);
    }

    #[test]
    fn a_falling_row_of_cuts_does_not_vanish_into_its_end() {
        let row: Vec<CutPoint> = (0..100)
            .map(|i| cut(i, &[1000 - i], 10 * i as u64))
            .collect();
        let kept = thin(&row, 15);
        assert_eq!(kept.len(), 50);
        let apart = |pair: &[CutPoint]| pair[1].flops_before - pair[0].flops_before == 20;
        assert!(kept.windows(2).all(apart));
    }
}
