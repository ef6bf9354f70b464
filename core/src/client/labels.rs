//! Logits → labels: softmax and the best few.

/// Most labels of one answer.
pub const MAX_TOP_K: usize = 100;

/// A class and how likely it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// Position in the model's output.
    pub index: usize,
    /// Name of the class; its index where the bundle has no names.
    pub label: String,
    /// Probability, 0 to 1.
    pub score: f32,
}

/// The `k` most likely classes, most likely first; the softmax runs over all logits.
pub fn top_k(logits: &[f32], labels: &[String], k: usize) -> Vec<Label> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|x| (x - max).exp()).sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    order
        .into_iter()
        .take(k)
        .map(|index| Label {
            index,
            label: labels
                .get(index)
                .cloned()
                .unwrap_or_else(|| index.to_string()),
            score: (logits[index] - max).exp() / sum,
        })
        .collect()
}
