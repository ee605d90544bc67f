// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @title Where relayers show the roots of their audit logs
/// @notice A root that was shown cannot be taken back or dated back: whoever has the log can check that what is in it was in
/// it then. The contract keeps nothing and decides nothing; who shows what is in the event.
interface IAuditAnchor {
    /// @param relayer Who called. Only its own log is meant: anybody may show anything under its own name.
    /// @param day Number of the period since 1970-01-01 UTC; days, unless the relayer says otherwise.
    /// @param root Merkle root (RFC 6962, SHA-256) over the digests of the seals of that day.
    event Anchored(address indexed relayer, uint64 indexed day, bytes32 root);

    function anchor(bytes32 root, uint64 day) external;
}
