//! Picking the item of a list that a step learns from.

use crate::catalog::model::{Condition, Pick};
use crate::code::Code;
use crate::error::{Error, Result};
use crate::json;
use crate::template;
use serde_json::{Map, Value};

/// The last item that meets every condition; none when there is no such item and the tool can do without.
pub fn pick<'a>(pick: &Pick, body: &'a Value, input: &Map<String, Value>) -> Result<Option<&'a Value>> {
    let items = json::find(body, pick.items).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let found = items.iter().rev().find(|item| pick.conditions.iter().all(|condition| meets(condition, item, input)));
    if found.is_none() && !pick.otherwise.is_empty() {
        return Err(Error::new(Code::ResourceNotFound, pick.otherwise));
    }
    Ok(found)
}

fn meets(condition: &Condition, item: &Value, input: &Map<String, Value>) -> bool {
    let there = json::find(item, condition.at);
    let wanted = template::fill(condition.is, |name| input.get(name).and_then(json::to_text));
    let is = match wanted.filter(|wanted| !wanted.is_empty()) {
        Some(wanted) => there.and_then(json::to_text).is_some_and(|text| text.trim() == wanted.trim()),
        None => true,
    };
    let has = |value: &Value| value.as_str() == Some(condition.lacks);
    let lacks = match there {
        _ if condition.lacks.is_empty() => true,
        Some(Value::Array(values)) => !values.iter().any(has),
        Some(value) => !has(value),
        None => true,
    };
    is && lacks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::model::List;
    use serde_json::json;

    const PICK: Pick = Pick {
        items: "/messages",
        conditions: List(&[
            Condition { at: "/labels", is: "", lacks: "DRAFT" },
            Condition { at: "/headers/[name=Message-ID]/value", is: "{answered}", lacks: "" },
        ]),
        otherwise: "nothing to answer",
    };

    #[test]
    fn the_last_item_that_fits_is_taken_and_a_condition_without_its_value_does_not_count() {
        let message =
            |id: &str, label: &str| json!({ "labels": [label], "headers": [{ "name": "Message-Id", "value": id }] });
        let body = json!({ "messages": [message("<1>", "INBOX"), message("<2>", "SENT"), message("<3>", "DRAFT")] });
        let picked = |input: Value| {
            let found = pick(&PICK, &body, input.as_object().unwrap());
            found.map(|found| found.unwrap()["headers"][0]["value"].clone()).map_err(|error| error.message)
        };
        assert_eq!(picked(json!({})), Ok(json!("<2>")));
        assert_eq!(picked(json!({ "answered": "<1>" })), Ok(json!("<1>")));
        assert_eq!(picked(json!({ "answered": "<3>" })), Err("nothing to answer".into()));
        let silent = Pick { otherwise: "", conditions: List(&[]), items: "/none" };
        assert!(pick(&silent, &body, &Map::new()).unwrap().is_none());
    }
}
