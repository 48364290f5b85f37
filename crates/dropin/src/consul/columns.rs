//! Tables as Consul's program prints them: columns as wide as their widest cell, spaces between.

/// Spaces between the columns of most tables.
pub(super) const GAP: usize = 2;
/// And of `catalog services -tags`.
pub(super) const WIDE_GAP: usize = 6;

/// Rows of equally many cells, the heading first, `gap` spaces between the columns.
pub(super) fn columns(rows: &[Vec<String>], gap: usize) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let width = width + gap;
            line.push_str(&format!("{cell:<width$}"));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_padded_to_the_widest() {
        let rows = [["Node", "ID", "DC"], ["n1", "6ba7b810", "dc1"]];
        let rows: Vec<Vec<String>> = rows
            .iter()
            .map(|row| row.iter().map(|cell| (*cell).to_owned()).collect())
            .collect();
        assert_eq!(
            columns(&rows, GAP),
            "Node  ID        DC\nn1    6ba7b810  dc1\n"
        );
    }
}
