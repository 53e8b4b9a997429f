//! What a convolution reads for each of its results, and how its gradient is another convolution.
//!
//! Every convolution here is brought to one form, in which all steps are of one pixel. The picture it reads
//! is split into `split x split` planes (every second column of every second row, where it halves); the
//! picture it makes is put together of `join x join` planes (where it doubles). Planes of both are of one
//! size, the grid, and a result is a sum over neighbours in the grid that are at most one row and one
//! column away.

use std::ops::Range;

/// A convolution with a kernel of 1x1 or 3x3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A kernel of 1x1.
    Pixel,
    /// A kernel of 3x3 that keeps the size.
    Same,
    /// A kernel of 3x3 and steps of 2, padded by one row below and one column to the right, as the
    /// reference autoencoders halve a picture.
    Halve,
    /// Every pixel to a square of 2x2, then [`Kind::Same`].
    Double,
}

impl Kind {
    /// Height and width of the kernel.
    pub fn side(self) -> usize {
        match self {
            Self::Pixel => 1,
            Self::Same | Self::Halve | Self::Double => 3,
        }
    }
}

/// A neighbour in the grid.
#[derive(Clone, Debug)]
pub struct Tap {
    /// Plane of the picture that is read.
    pub plane: usize,
    pub down: isize,
    pub right: isize,
    /// Places in the kernel whose weights it has the sum of.
    pub weights: Vec<usize>,
}

/// A convolution in the form described above.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rows and columns.
    pub grid: [usize; 2],
    /// Height and width of the picture that is read.
    pub source: [usize; 2],
    /// Height and width of the picture that is made.
    pub target: [usize; 2],
    /// Rows and columns of neighbours around the grid: none or one.
    pub edge: usize,
    pub split: usize,
    pub join: usize,
    /// The neighbours of each plane that is made, in order of the planes.
    pub taps: Vec<Vec<Tap>>,
    /// Places in the kernel.
    pub kernel: usize,
    /// Whether weights are stored with the channels that are read first.
    pub transposed: bool,
}

/// Along one axis: for each plane that is made, the plane read, the step in the grid, and the weights.
type Axis = Vec<Vec<(usize, isize, Vec<usize>)>>;

impl Plan {
    /// The convolution of a picture of this size.
    pub fn forward(kind: Kind, [height, width]: [usize; 2]) -> Self {
        let one = |at: usize| vec![at];
        let size = [height, width];
        match kind {
            Kind::Pixel => Self::new(size, size, size, [1, 1], vec![vec![(0, 0, one(0))]], 1),
            Kind::Same => {
                let axis = (0..3).map(|at| (0, at as isize - 1, one(at))).collect();
                Self::new(size, size, size, [1, 1], vec![axis], 3)
            }
            Kind::Halve => {
                let half = [height / 2, width / 2];
                let axis = vec![(0, 0, one(0)), (1, 0, one(1)), (0, 1, one(2))];
                Self::new(half, size, half, [2, 1], vec![axis], 3)
            }
            Kind::Double => {
                let double = [2 * height, 2 * width];
                let axis = vec![
                    vec![(0, -1, one(0)), (0, 0, vec![1, 2])],
                    vec![(0, 0, vec![0, 1]), (0, 1, one(2))],
                ];
                Self::new(size, size, double, [1, 2], axis, 3)
            }
        }
    }

    /// The convolution of the result's gradient that makes the picture's.
    pub fn backward(kind: Kind, [height, width]: [usize; 2]) -> Self {
        let one = |at: usize| vec![at];
        let size = [height, width];
        let mut plan = match kind {
            Kind::Pixel => Self::forward(kind, size),
            Kind::Same => {
                let axis = (0..3).map(|at| (0, at as isize - 1, one(2 - at))).collect();
                Self::new(size, size, size, [1, 1], vec![axis], 3)
            }
            Kind::Halve => {
                let grid = [height.div_ceil(2), width.div_ceil(2)];
                let axis = vec![vec![(0, -1, one(2)), (0, 0, one(0))], vec![(0, 0, one(1))]];
                Self::new(grid, [height / 2, width / 2], size, [1, 2], axis, 3)
            }
            Kind::Double => {
                let axis =
                    vec![(1, -1, one(2)), (0, 0, vec![1, 2]), (1, 0, vec![0, 1]), (0, 1, one(0))];
                Self::new(size, [2 * height, 2 * width], size, [2, 1], vec![axis], 3)
            }
        };
        plan.transposed = true;
        plan
    }

    /// A convolution of one plane to one, made in squares of 2x2 results: the taps are the 16 numbers of the picture that
    /// the results of a square are made of, row by row.
    pub fn in_squares(&self) -> Self {
        const AXIS: [(usize, isize); 4] = [(1, -1), (0, 0), (1, 0), (0, 1)];
        let tap = |row: (usize, isize), column: (usize, isize)| Tap {
            plane: row.0 * 2 + column.0,
            down: row.1,
            right: column.1,
            weights: Vec::new(),
        };
        let taps = AXIS.iter().flat_map(|row| AXIS.map(|column| tap(*row, column))).collect();
        Self {
            grid: self.grid.map(|side| side.div_ceil(2)),
            split: 2,
            join: 2,
            taps: vec![taps],
            ..self.clone()
        }
    }

    /// Whether results of the given rows of the grid are made of every `split`th row, counted from the given one, at the
    /// given row of the grid.
    pub fn reads(&self, rows: &Range<usize>, down: usize, row: isize) -> bool {
        let of_row = |tap: &&Tap| tap.plane / self.split == down;
        let reads = |tap: &Tap| {
            let (first, end) = (rows.start as isize + tap.down, rows.end as isize + tap.down);
            (first..end).contains(&row)
        };
        self.taps.iter().flatten().filter(of_row).any(reads)
    }

    fn new(
        grid: [usize; 2],
        source: [usize; 2],
        target: [usize; 2],
        [split, join]: [usize; 2],
        axis: Axis,
        side: usize,
    ) -> Self {
        let tap = |(row, down, rows): &(usize, isize, Vec<usize>),
                   (column, right, columns): &(usize, isize, Vec<usize>)| Tap {
            plane: row * split + column,
            down: *down,
            right: *right,
            weights: rows
                .iter()
                .flat_map(|row| columns.iter().map(move |column| row * side + column))
                .collect(),
        };
        let across = |rows: &Vec<_>, columns: &Vec<_>| {
            rows.iter().flat_map(|row| columns.iter().map(move |column| tap(row, column))).collect()
        };
        let taps = axis
            .iter()
            .flat_map(|rows| axis.iter().map(move |columns| across(rows, columns)))
            .collect();
        let edge = usize::from(side > 1);
        Self {
            grid,
            source,
            target,
            edge,
            split,
            join,
            taps,
            kernel: side * side,
            transposed: false,
        }
    }
}
