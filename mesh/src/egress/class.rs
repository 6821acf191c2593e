//! Classes of addresses, by IANA's registries of special-purpose addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where clouds serve credentials to the machines that run there: AWS, Azure, Google, Oracle, Alibaba and others.
const METADATA_V4: [Ipv4Addr; 5] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(100, 100, 100, 200),
];
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

/// What an address stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddressClass {
    /// Anything on the internet.
    Public,
    /// `0.0.0.0/8` and `::`, which reach this machine.
    Unspecified,
    Loopback,
    LinkLocal,
    /// The metadata service of a cloud.
    Metadata,
    Private,
    UniqueLocal,
    /// Of a provider's network: `100.64.0.0/10`.
    Shared,
    /// Multicast, documentation, benchmarks and other special purposes.
    Reserved,
}

impl AddressClass {
    /// The class of an address. An IPv4 address inside an IPv6 address counts.
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::of_v4(v4),
            IpAddr::V6(v6) => Self::of_v6(v6),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        match address.octets() {
            _ if METADATA_V4.contains(&address) => Self::Metadata,
            [0, ..] => Self::Unspecified,
            [127, ..] => Self::Loopback,
            [169, 254, ..] => Self::LinkLocal,
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Self::Private,
            [100, 64..=127, ..] => Self::Shared,
            [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18..=19, ..] => Self::Reserved,
            [198, 51, 100, _] | [203, 0, 113, _] | [224..=255, ..] => Self::Reserved,
            _ => Self::Public,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        let embedded =
            |high: u16, low: u16| Self::of_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
        match address.segments() {
            _ if METADATA_V6.contains(&address) => Self::Metadata,
            [0, 0, 0, 0, 0, 0, 0, 0] => Self::Unspecified,
            [0, 0, 0, 0, 0, 0, 0, 1] => Self::Loopback,
            // IPv4-compatible, NAT64 and 6to4.
            [0, 0, 0, 0, 0, 0, high, low]
            | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
            | [0x2002, high, low, ..] => embedded(high, low),
            [0x64, 0xff9b, 1, ..] | [0xfec0..=0xfeff, ..] => Self::Private,
            [0xfe80..=0xfebf, ..] => Self::LinkLocal,
            [0xfc00..=0xfdff, ..] => Self::UniqueLocal,
            // Teredo, documentation, discard-only, and what is not assigned for unicast.
            [0x2001, 0 | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Self::Reserved,
            [0x2000..=0x3fff, ..] => Self::Public,
            _ => Self::Reserved,
        }
    }

    /// Whether a rule with a name allows addresses of this class. No store or broker has other ones, so a name that
    /// resolves to them is probably an attack.
    pub(super) fn opens_by_name(self) -> bool {
        !matches!(self, Self::Unspecified | Self::LinkLocal | Self::Metadata | Self::Reserved)
    }

    /// In an error message.
    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Public => "a public address",
            Self::Unspecified => "an unspecified address",
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "the address of a cloud's metadata service",
            Self::Private => "a private address",
            Self::UniqueLocal => "a unique-local address",
            Self::Shared => "an address of a provider's network",
            Self::Reserved => "an address for special purposes",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        use AddressClass::{
            LinkLocal, Loopback, Metadata, Private, Public, Reserved, Shared, UniqueLocal, Unspecified,
        };
        for (address, expected) in [
            ("8.8.8.8", Public),
            ("172.15.255.255", Public),
            ("172.32.0.0", Public),
            ("100.63.255.255", Public),
            ("100.128.0.0", Public),
            ("2606:4700::1", Public),
            ("2002:808:808::", Public),
            ("64:ff9b::808:808", Public),
            ("0.0.0.0", Unspecified),
            ("0.1.2.3", Unspecified),
            ("::", Unspecified),
            ("127.0.0.1", Loopback),
            ("127.255.255.254", Loopback),
            ("::1", Loopback),
            ("::ffff:127.0.0.1", Loopback),
            ("::127.0.0.1", Loopback),
            ("64:ff9b::7f00:1", Loopback),
            ("2002:7f00:1::", Loopback),
            ("169.254.1.1", LinkLocal),
            ("fe80::1", LinkLocal),
            ("febf::1", LinkLocal),
            ("169.254.169.254", Metadata),
            ("::ffff:169.254.169.254", Metadata),
            ("64:ff9b::a9fe:a9fe", Metadata),
            ("168.63.129.16", Metadata),
            ("100.100.100.200", Metadata),
            ("fd00:ec2::254", Metadata),
            ("10.0.0.1", Private),
            ("172.16.0.1", Private),
            ("172.31.255.255", Private),
            ("192.168.1.1", Private),
            ("::ffff:10.0.0.1", Private),
            ("2002:a00:1::", Private),
            ("fec0::1", Private),
            ("64:ff9b:1::1", Private),
            ("fc00::1", UniqueLocal),
            ("fdff::1", UniqueLocal),
            ("100.64.0.1", Shared),
            ("192.0.2.1", Reserved),
            ("198.18.0.1", Reserved),
            ("224.0.0.1", Reserved),
            ("255.255.255.255", Reserved),
            ("2001:db8::1", Reserved),
            ("2001::1", Reserved),
            ("ff02::1", Reserved),
            ("100::1", Reserved),
        ] {
            assert_eq!(AddressClass::of(address.parse().expect(address)), expected, "{address}");
        }
    }
}
