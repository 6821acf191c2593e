//! Takes orders.

use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Order {
    item: String,
    count: u32,
}

#[derive(Serialize)]
struct Receipt {
    text: String,
}

#[funless::function]
fn order(order: Order) -> Result<Receipt, funless::Error> {
    if order.count == 0 {
        return Err(funless::Error::new("the count must not be 0"));
    }
    log::info!("{} are ordered", order.count);
    Ok(Receipt { text: format!("{} x {}", order.count, order.item) })
}

#[cfg(test)]
mod tests {
    use funless::testing::Host;
    use serde_json::json;

    #[test]
    fn orders() {
        let invocation = Host::new().invoke::<super::order>(json!({ "item": "tea", "count": 2 }));
        assert_eq!(invocation.result, Ok(json!({ "text": "2 x tea" })));
        assert_eq!(invocation.log, ["INFO 2 are ordered"]);
    }
}
