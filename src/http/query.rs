//! The query of a request. It is read whole: a name that is not known, a name that is given twice where one value is
//! meant, and a value that is none of those possible are refused, since a filter that is half read lists the wrong things.

use crate::error::{Error, Result, short};

/// The most values of a filter that takes several.
pub const MOST_VALUES: usize = 100;

/// An empty page token is the first page's; the others mean nothing here anyway.
const MAY_BE_EMPTY: [&str; 3] = ["page_token", "organization_id", "user_id"];

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

    /// The value of names that mean the same. Two that differ are refused.
    pub fn any(&self, names: &[&str]) -> Result<Option<&str>> {
        let mut given = names.iter().filter_map(|name| Some((name, self.get(name)?)));
        let Some((first, value)) = given.next() else { return Ok(None) };
        match given.find(|(_, other)| *other != value) {
            Some((name, _)) => Err(Error::invalid(format!("`{first}` and `{name}` mean the same and differ"))),
            None => Ok(Some(value)),
        }
    }

    /// All values of names that mean the same and take several: repeated, with commas, or both.
    pub fn all(&self, names: &[&str]) -> Result<Vec<&str>> {
        let mut found: Vec<&str> = Vec::new();
        let given = self.0.iter().filter(|(name, _)| names.contains(&name.as_str()));
        for value in given.flat_map(|(_, value)| value.split(',')).map(str::trim).filter(|value| !value.is_empty()) {
            if !found.contains(&value) {
                if found.len() == MOST_VALUES {
                    return Err(Error::invalid(format!("`{}` takes at most {MOST_VALUES} values", names[0])));
                }
                found.push(value);
            }
        }
        Ok(found)
    }

    /// `true` or `false`; false when it is not given.
    pub fn flag(&self, name: &str) -> Result<bool> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Error::invalid(format!("`{name}` must be true or false"))),
        }
    }

    /// Fails when there is a name that is none of these, or one of them twice.
    pub fn only(&self, names: &[&str]) -> Result<()> {
        self.only_with(names, &[])
    }

    /// As [`Query::only`]; those of `lists` may be given several times.
    pub fn only_with(&self, names: &[&str], lists: &[&str]) -> Result<()> {
        let is = |known: &[&str], name: &str| known.contains(&name);
        if let Some((name, _)) = self.0.iter().find(|(name, _)| !is(names, name) && !is(lists, name)) {
            let known = [lists, names].concat().join(", ");
            let takes = if known.is_empty() { "nothing".to_owned() } else { known };
            return Err(Error::invalid(format!("the query takes {takes}, and no `{}`", short(name))));
        }
        // Empty is a mistake on the way here (a variable without a value), and not "all of them" or "no".
        let is_empty = |value: &str| value.split(',').all(|part| part.trim().is_empty());
        if let Some((name, _)) =
            self.0.iter().find(|(name, value)| is_empty(value) && !MAY_BE_EMPTY.contains(&name.as_str()))
        {
            return Err(Error::invalid(format!("`{name}` has no value; leave it out or say which")));
        }
        for name in names {
            if self.0.iter().filter(|(known, _)| known == name).count() > 1 {
                return Err(Error::invalid(format!("`{name}` takes one value, and was given several")));
            }
        }
        Ok(())
    }

    /// Fails when a name has a value: one that other APIs of this form have and that filters nothing here.
    pub fn not(&self, names: &[&str]) -> Result<()> {
        match names.iter().find(|name| self.get(name).is_some()) {
            Some(name) => Err(Error::invalid(format!("`{name}` would filter nothing here; leave it out"))),
            None => Ok(()),
        }
    }

    /// A page size from 1 to `most`.
    pub fn page_size(&self, usual: u32, most: u32) -> Result<u32> {
        let Some(text) = self.get("page_size") else { return Ok(usual) };
        let size = text.parse().ok().filter(|size| (1..=most).contains(size));
        size.ok_or_else(|| Error::invalid(format!("page_size must be a number from 1 to {most}")))
    }

    /// What is asked for beside the page: the same for all pages of a list.
    pub fn filters(&self) -> String {
        let mut pairs: Vec<_> = self.0.iter().filter(|(name, _)| !name.starts_with("page_")).collect();
        pairs.sort();
        form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_whole_or_refused() {
        let query = Query::parse("a=1&list=x&list=y,z&list=x&flag=true&wrong=yes&same=1&other=2");
        assert_eq!(query.all(&["list", "lists"]).unwrap(), ["x", "y", "z"]);
        assert!(query.flag("flag").unwrap() && !query.flag("none").unwrap() && query.flag("wrong").is_err());
        assert_eq!(query.any(&["a", "same"]).unwrap(), Some("1"));
        assert!(query.any(&["same", "other"]).is_err());
        assert!(query.only(&["a"]).is_err(), "a name that is not known");
        assert!(query.only(&["a", "list", "flag", "wrong", "same", "other"]).is_err(), "a name given twice");
        assert!(query.only_with(&["a", "flag", "wrong", "same", "other"], &["list"]).is_ok());
        for empty in ["a", "a=", "a=%20", "list=,", "list=x&list="] {
            assert!(Query::parse(empty).only_with(&["a"], &["list"]).is_err(), "{empty}");
        }
        assert!(Query::parse("page_token=&user_id=").only(&["page_token", "user_id"]).is_ok());
        assert!(query.not(&["nothing"]).is_ok() && query.not(&["a"]).is_err());
        let many = (0..=MOST_VALUES).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        assert!(Query::parse(&format!("list={many}")).all(&["list"]).is_err());
    }

    #[test]
    fn all_pages_of_a_list_have_the_same_filters() {
        let filters = |text| Query::parse(text).filters();
        assert_eq!(filters("b=2&a=1&page_size=5"), filters("a=1&page_token=x&b=2"));
        assert_ne!(filters("a=1"), filters("a=1&b=2"));
    }
}
