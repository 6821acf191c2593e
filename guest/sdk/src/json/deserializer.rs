//! A scanner as serde's deserializer.

use std::borrow::Cow;

use serde::de::{self, Deserializer, Error as _, Unexpected, Visitor};

use super::access::{Elements, Members, Variant};
use super::error::Error;
use super::scanner::{Number, Scanner};

impl<'de> Scanner<'de> {
    /// The error for a next value that is none of those that were expected.
    #[cold]
    fn mismatch<V: Visitor<'de>>(&mut self, visitor: &V) -> Error {
        let found = match self.peek() {
            Some(b'"') => match self.string() {
                Ok(string) => return Error::invalid_type(Unexpected::Str(&string), visitor),
                Err(error) => return error,
            },
            Some(b'n') => Unexpected::Unit,
            Some(b't') => Unexpected::Bool(true),
            Some(b'f') => Unexpected::Bool(false),
            Some(b'[') => Unexpected::Seq,
            Some(b'{') => Unexpected::Map,
            Some(b'-' | b'0'..=b'9') => match self.number() {
                Ok(Number { text, is_integer: true }) => match (text.parse(), text.parse()) {
                    (Ok(number), _) => Unexpected::Unsigned(number),
                    (_, Ok(number)) => Unexpected::Signed(number),
                    _ => Unexpected::Other("number"),
                },
                Ok(_) => Unexpected::Float(0.0),
                Err(error) => return error,
            },
            _ => return self.error("expected a value"),
        };
        Error::invalid_type(found, visitor)
    }

    fn is_number(&mut self) -> bool {
        matches!(self.peek(), Some(b'-' | b'0'..=b'9'))
    }

    /// A number that was asked for as an integer.
    fn integer<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        if !self.is_number() {
            return Err(self.mismatch(&visitor));
        }
        let number = self.number()?;
        if !number.is_integer {
            return Err(Error::invalid_type(Unexpected::Float(0.0), &visitor));
        }
        match (number.text.parse(), number.text.parse()) {
            (Ok(unsigned), _) => visitor.visit_u64(unsigned),
            (_, Ok(signed)) => visitor.visit_i64(signed),
            _ => Err(Error::invalid_value(Unexpected::Other(number.text), &visitor)),
        }
    }

    /// A number that was asked for as an integer of 128 bits.
    fn large_integer<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        if !self.is_number() {
            return Err(self.mismatch(&visitor));
        }
        let number = self.number()?;
        match (number.text.parse(), number.text.parse()) {
            (Ok(unsigned), _) => visitor.visit_u128(unsigned),
            (_, Ok(signed)) => visitor.visit_i128(signed),
            _ => Err(Error::invalid_value(Unexpected::Other(number.text), &visitor)),
        }
    }

    fn array<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        self.enter()?;
        let value = visitor.visit_seq(Elements::new(self))?;
        self.leave(b']')?;
        Ok(value)
    }

    fn object<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        self.enter()?;
        let value = visitor.visit_map(Members::new(self))?;
        self.leave(b'}')?;
        Ok(value)
    }
}

/// The value of a number that is not an integer of 64 bits.
fn float(number: Number<'_>) -> Result<f64, Error> {
    match number.text.parse() {
        Ok(value) if f64::is_finite(value) => Ok(value),
        _ => Err(Error::new("number out of range")),
    }
}

/// Methods that do the same as another one.
macro_rules! same {
    ($to:ident: $($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.$to(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for &mut Scanner<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.peek() {
            Some(b'"') => self.deserialize_str(visitor),
            Some(b'n') => self.deserialize_unit(visitor),
            Some(b't' | b'f') => self.deserialize_bool(visitor),
            Some(b'[') => self.array(visitor),
            Some(b'{') => self.object(visitor),
            Some(b'-' | b'0'..=b'9') => {
                let number = self.number()?;
                if number.is_integer {
                    if let Ok(unsigned) = number.text.parse() {
                        return visitor.visit_u64(unsigned);
                    }
                    if let Ok(signed) = number.text.parse() {
                        return visitor.visit_i64(signed);
                    }
                }
                visitor.visit_f64(float(number)?)
            }
            _ => Err(self.error("expected a value")),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.peek() {
            Some(b't') => self.word("true").and_then(|()| visitor.visit_bool(true)),
            Some(b'f') => self.word("false").and_then(|()| visitor.visit_bool(false)),
            _ => Err(self.mismatch(&visitor)),
        }
    }

    same! { integer: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16
    deserialize_u32 deserialize_u64 }
    same! { large_integer: deserialize_i128 deserialize_u128 }
    same! { deserialize_f64: deserialize_f32 }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if !self.is_number() {
            return Err(self.mismatch(&visitor));
        }
        visitor.visit_f64(float(self.number()?)?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.peek() != Some(b'"') {
            return Err(self.mismatch(&visitor));
        }
        match self.string()? {
            Cow::Borrowed(string) => visitor.visit_borrowed_str(string),
            Cow::Owned(string) => visitor.visit_string(string),
        }
    }

    same! { deserialize_str: deserialize_char deserialize_string deserialize_identifier }
    same! { deserialize_bytes: deserialize_byte_buf }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.peek() {
            Some(b'[') => self.array(visitor),
            Some(b'"') => match self.string()? {
                Cow::Borrowed(string) => visitor.visit_borrowed_bytes(string.as_bytes()),
                Cow::Owned(string) => visitor.visit_byte_buf(string.into_bytes()),
            },
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.peek() == Some(b'n') {
            return self.word("null").and_then(|()| visitor.visit_none());
        }
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.peek() {
            Some(b'n') => self.word("null").and_then(|()| visitor.visit_unit()),
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.peek() {
            Some(b'[') => self.array(visitor),
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.peek() {
            Some(b'{') => self.object(visitor),
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.peek() {
            Some(b'[') => self.array(visitor),
            Some(b'{') => self.object(visitor),
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.peek() {
            Some(b'"') => visitor.visit_enum(de::value::CowStrDeserializer::new(self.string()?)),
            Some(b'{') => {
                self.enter()?;
                let value = visitor.visit_enum(Variant(self))?;
                self.leave(b'}')?;
                Ok(value)
            }
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.skip()?;
        visitor.visit_unit()
    }
}
