#![doc = include_str!("../README.md")]

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Attribute, Error, FnArg, GenericParam, ItemFn, ReturnType, Type};

/// Exports a function to FunLess. See the documentation of the crate `funless`.
#[proc_macro_attribute]
pub fn function(
    attribute: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    expand(attribute.into(), item.into()).unwrap_or_else(Error::into_compile_error).into()
}

fn expand(attribute: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    if !attribute.is_empty() {
        return Err(Error::new_spanned(attribute, "#[funless::function] takes no parameters"));
    }
    let function: ItemFn = syn::parse2(item)?;
    check(&function)?;
    let (name, visibility) = (&function.sig.ident, &function.vis);
    let conditions: Vec<_> = function.attrs.iter().filter(|attribute| is_condition(attribute)).collect();
    let call = call_of(&function);
    Ok(quote! {
        #function

        // A function and a type can have the same name.
        #(#conditions)*
        #[doc(hidden)]
        #[allow(non_camel_case_types, dead_code)]
        #visibility struct #name {}

        #(#conditions)*
        impl ::funless::Function for #name {
            fn call(arguments: &[u8]) -> ::core::result::Result<::std::vec::Vec<u8>, ::std::string::String> {
                #[allow(unused_imports)]
                use ::funless::__private::ReturnsValue as _;
                let _ = arguments;
                #call
            }
        }

        #(#conditions)*
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            #[allow(unsafe_code)]
            #[unsafe(no_mangle)]
            extern "C" fn __invoke(length: u32) -> i32 {
                ::funless::__private::invoke::<#name>(length)
            }

            #[allow(unsafe_code)]
            #[unsafe(no_mangle)]
            extern "C" fn __runtime_version() -> i32 {
                ::funless::__private::RUNTIME_VERSION
            }
        };
    })
}

/// The call of the function, with errors of types where the types are.
fn call_of(function: &ItemFn) -> TokenStream {
    let name = &function.sig.ident;
    let returned = match &function.sig.output {
        ReturnType::Default => name.span(),
        ReturnType::Type(_, output) => output.span(),
    };
    let Some(FnArg::Typed(argument)) = function.sig.inputs.first() else {
        return quote_spanned! {returned=> ::funless::__private::Returned(#name()).into_response() };
    };
    let parsed = quote_spanned! {argument.ty.span()=> ::funless::__private::parse(arguments)? };
    let response = quote_spanned! {returned=>
        ::funless::__private::Returned(#name(parsed)).into_response()
    };
    quote! {
        let parsed = #parsed;
        #response
    }
}

/// Whether the attribute decides if the function exists.
fn is_condition(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
}

/// Refuses what FunLess cannot call.
fn check(function: &ItemFn) -> syn::Result<()> {
    let signature = &function.sig;
    if let Some(token) = &signature.asyncness {
        return Err(Error::new_spanned(token, "a FunLess function cannot be async: its calls block"));
    }
    if let Some(parameter) =
        signature.generics.params.iter().find(|parameter| !matches!(parameter, GenericParam::Lifetime(_)))
    {
        return Err(Error::new_spanned(parameter, "a FunLess function cannot be generic"));
    }
    if let Some(argument) = signature.inputs.iter().nth(1) {
        let message = "a FunLess function has one argument or none; use a struct with a field for each";
        return Err(Error::new_spanned(argument, message));
    }
    match signature.inputs.first() {
        Some(FnArg::Receiver(receiver)) => {
            Err(Error::new_spanned(receiver, "a FunLess function cannot be a method"))
        }
        Some(FnArg::Typed(argument)) if matches!(*argument.ty, Type::ImplTrait(_)) => {
            Err(Error::new_spanned(&argument.ty, "the argument of a FunLess function needs a concrete type"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(attribute: TokenStream, item: TokenStream) -> String {
        expand(attribute, item).map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn what_cannot_be_called_is_refused() {
        let none = TokenStream::new;
        let cases = [
            (none(), quote! { fn f() {} }, ""),
            (none(), quote! { pub(crate) fn f(a: &str) -> String { a.into() } }, ""),
            (none(), quote! { fn f<'a>(a: Person<'a>) -> Result<(), &'static str> { Ok(()) } }, ""),
            (quote! { name = "f" }, quote! { fn f() {} }, "takes no parameters"),
            (none(), quote! { struct F; }, "expected `fn`"),
            (none(), quote! { async fn f() {} }, "cannot be async"),
            (none(), quote! { fn f<T>(a: T) {} }, "cannot be generic"),
            (none(), quote! { fn f<const N: usize>(a: [u8; N]) {} }, "cannot be generic"),
            (none(), quote! { fn f(a: u8, b: u8) {} }, "one argument or none"),
            (none(), quote! { fn f(&self) {} }, "cannot be a method"),
            (none(), quote! { fn f(a: impl Copy) {} }, "a concrete type"),
        ];
        for (attribute, item, expected) in cases {
            let (text, error) = (item.to_string(), error_of(attribute, item));
            assert!(error.contains(expected) && error.is_empty() == expected.is_empty(), "{text}: {error}");
        }
    }

    #[test]
    fn conditions_hold_for_all_that_is_generated() {
        let function = quote! { #[cfg(feature = "x")] #[inline] fn f() {} };
        let expanded = expand(TokenStream::new(), function).expect("valid").to_string();
        assert_eq!(expanded.matches("feature = \"x\"").count(), 4, "{expanded}");
        assert_eq!(expanded.matches("inline").count(), 1, "{expanded}");
    }
}
