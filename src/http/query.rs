//! The query of a request.

use crate::error::{Error, Result};

/// Names and values, decoded.
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query.
    pub fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// A value that is not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, value)| known == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    /// The first of these names that has a value.
    pub fn any(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }

    /// Fails when there is a name that is none of these: a typo in a filter must not list everything.
    pub fn only(&self, names: &[&str]) -> Result<()> {
        match self.0.iter().find(|(name, _)| !names.contains(&name.as_str())) {
            Some((name, _)) => Err(Error::invalid(format!("the query takes {}, and no `{name}`", names.join(", ")))),
            None => Ok(()),
        }
    }

    /// A page size from 1 to `most`.
    pub fn page_size(&self, usual: u32, most: u32) -> Result<u32> {
        let Some(text) = self.get("page_size") else { return Ok(usual) };
        let size = text.parse().ok().filter(|size| (1..=most).contains(size));
        size.ok_or_else(|| Error::invalid(format!("page_size must be a number from 1 to {most}")))
    }
}
