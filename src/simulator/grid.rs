//! Points of the map by cell, so that a circle is found without looking at everyone.
//!
//! Cells are at least as wide as the radius: a circle lies within its centre's cell and the eight around it, and
//! the three cells of a row lie side by side in memory.

/// A numbered point of the map.
pub(super) type Spot = (f64, f64, u32);

const MAP_SIDE: f64 = 100.0;

/// Points in cells, row by row.
pub(super) struct Grid {
    radius: f64,
    cells_per_side: usize,
    spots: Vec<Spot>,
    /// Where each cell begins in `spots`, and the end.
    starts: Vec<usize>,
}

impl Grid {
    /// Sorts points, numbered in their order, for circles of one radius; no more cells than points.
    pub(super) fn new(points: &[(f64, f64)], radius: f64) -> Self {
        let cells_per_side = whole((MAP_SIDE / radius).min((points.len() as f64).sqrt()).max(1.0));
        let empty = Self { radius, cells_per_side, spots: Vec::new(), starts: Vec::new() };
        let cell = |spot: &Spot| empty.cell(empty.along(spot.0), empty.along(spot.1));
        let mut spots: Vec<Spot> = points.iter().zip(0..).map(|(&(x, y), number)| (x, y, number)).collect();
        spots.sort_by_key(cell);
        let begin = |number: usize| spots.partition_point(|spot| cell(spot) < number);
        let starts = (0..=cells_per_side * cells_per_side).map(begin).collect();
        Self { spots, starts, ..empty }
    }

    /// Appends the numbers of the points nearer than the radius, in rising order.
    pub(super) fn within(&self, (x, y): (f64, f64), into: &mut Vec<u32>) {
        let first = into.len();
        let last_cell = self.cells_per_side - 1;
        let (column, row) = (self.along(x), self.along(y));
        for row in row.saturating_sub(1)..=(row + 1).min(last_cell) {
            let from = self.starts[self.cell(column.saturating_sub(1), row)];
            let to = self.starts[self.cell((column + 1).min(last_cell), row) + 1];
            let near = self.spots[from..to].iter().filter(|spot| (spot.0 - x).hypot(spot.1 - y) < self.radius);
            into.extend(near.map(|spot| spot.2));
        }
        into[first..].sort_unstable();
    }

    fn along(&self, coordinate: f64) -> usize {
        whole(coordinate / MAP_SIDE * self.cells_per_side as f64).min(self.cells_per_side - 1)
    }

    const fn cell(&self, column: usize, row: usize) -> usize {
        row * self.cells_per_side + column
    }
}

#[expect(clippy::cast_possible_truncation, reason = "rounds down, as meant; below the count of points")]
fn whole(number: f64) -> usize {
    number as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point() -> impl Strategy<Value = (f64, f64)> {
        (0.0..MAP_SIDE, 0.0..MAP_SIDE)
    }

    proptest! {
        #[test]
        fn a_circle_is_found_whole(
            points in proptest::collection::vec(point(), 0..200),
            centre in point(),
            radius in prop_oneof![Just(0.0), 0.0..1.0, 1.0..150.0],
        ) {
            let mut seen = Vec::new();
            Grid::new(&points, radius).within(centre, &mut seen);
            let near = |&(x, y): &(f64, f64)| (x - centre.0).hypot(y - centre.1) < radius;
            let expected: Vec<u32> = points.iter().zip(0..).filter(|(point, _)| near(point)).map(|(_, n)| n).collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
