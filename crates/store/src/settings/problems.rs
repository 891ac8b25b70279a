//! Problems being collected, each said once.

use std::collections::HashSet;

use roundtrip_domain::problem::Problem;

/// Most problems that one answer lists. A megabyte of nonsense should not answer with ten.
const PROBLEMS_MAX: usize = 1_000;

/// What is wrong so far. A field that is broken in shape gets no second problem about its content, which
/// would only be about the stand-in that the shape check put there.
#[derive(Debug, Default)]
pub(super) struct Problems {
    list: Vec<Problem>,
    broken: HashSet<String>,
}

impl Problems {
    /// Adds a problem, unless its field is known to be broken or there are too many.
    pub(super) fn add(&mut self, problem: Problem) {
        let is_known = self.broken.contains(&problem.field) || self.list.contains(&problem);
        if self.list.len() < PROBLEMS_MAX && !is_known {
            self.list.push(problem);
        }
    }

    /// Adds a problem after which nothing else is said about the field.
    pub(super) fn broken(&mut self, problem: Problem) {
        let field = problem.field.clone();
        self.add(problem);
        self.broken.insert(field);
    }

    /// Whether a field holds a stand-in, so that nothing should be concluded from it.
    pub(super) fn is_broken(&self, field: &str) -> bool {
        self.broken.contains(field)
    }

    /// Whether one more would be dropped, so that costly advice is not worth working out.
    pub(super) fn is_full(&self) -> bool {
        self.list.len() >= PROBLEMS_MAX
    }

    /// Nothing, if nothing is wrong; else all of it, ordered by field.
    pub(super) fn into_result(mut self) -> Result<(), Vec<Problem>> {
        if self.list.is_empty() {
            return Ok(());
        }
        self.list.sort_by(|a, b| a.field.cmp(&b.field));
        Err(self.list)
    }
}
