//! How messages become bytes and bytes become messages.

use std::marker::PhantomData;

use prost::{Message, Name};
use tonic::Status;
use tonic::codec::{BufferSettings, DecodeBuf, Decoder};
use tonic_prost::{ProstDecoder, ProstEncoder};

/// The codec of all generated clients and servers: protobuf, in which a request that cannot be read is its
/// sender's mistake. tonic's own codec calls it INTERNAL, which blames the server.
#[derive(Debug, Clone)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = RequestDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        RequestDecoder(ProstDecoder::default())
    }
}

/// tonic's decoder, but for the status of requests that cannot be read.
#[derive(Debug, Clone)]
pub struct RequestDecoder<U>(ProstDecoder<U>);

impl<U: Message + Name + Default> Decoder for RequestDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        self.0.decode(buf).map_err(|status| {
            let message = format!("{} cannot be read: {}", U::NAME, status.message());
            match is_request::<U>() {
                true => Status::invalid_argument(message),
                false => Status::internal(message),
            }
        })
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

/// What servers read are the messages named `...Request`: each method has one of its own.
fn is_request<U: Name>() -> bool {
    U::NAME.ends_with("Request")
}

#[cfg(test)]
mod tests {
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn servers_read_requests_and_clients_responses() {
        let files = FileDescriptorSet::decode(crate::FILE_DESCRIPTOR_SET).expect("our own descriptors").file;
        let methods = files.iter().flat_map(|file| &file.service).flat_map(|service| &service.method);
        let mut count = 0;
        for method in methods {
            count += 1;
            let (input, output) = (method.input_type(), method.output_type());
            assert!(input.ends_with("Request") && output.ends_with("Response"), "{input} {output}");
        }
        assert!(count > 40, "{count} methods");
    }
}
