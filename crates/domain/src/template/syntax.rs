//! The brackets that macros are written in.

/// One way to write a macro.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Syntax {
    /// `{x}`
    Brace,
    /// `{{x}}`
    DoubleBrace,
    /// `${x}`
    DollarBrace,
    /// `{$x}`
    BraceDollar,
    /// `#{x}`
    HashBrace,
    /// `%{x}`
    PercentBrace,
    /// `(x)`
    Round,
    /// `[x]`
    Square,
    /// `[[x]]`
    DoubleSquare,
    /// `[[[x]]]`
    TripleSquare,
    /// `#x#`
    Hash,
    /// `##x##`
    DoubleHash,
    /// `%x%`
    Percent,
    /// `__x__`
    Underscores,
    /// `<x>`
    Angle,
    /// A bare word that the dialect's vocabulary has, as a whole value: `cid=REPLACE`.
    Bare,
    /// FreeMarker: `${(a.b)!}`, `<#if a>1<#else>0</#if>`.
    FreeMarker,
}
