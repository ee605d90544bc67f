// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ISessionChannels} from "../interfaces/ISessionChannels.sol";
import {ChannelTypes} from "./ChannelTypes.sol";

/// @notice Scratch memory for claim rows, allocated once a call and overwritten by every row.
/// @dev Solidity lays a struct's members out one word each, in order. These stand in the order in which EIP-712 and the
/// ecrecover precompile read them, so each hash is one `keccak256` over a range of the struct, with nothing copied:
///
///     keccak256(configTypehash .. salt)            struct hash of the ChannelConfig
///     keccak256(0x1901, domainSeparator, structHash)  channel id, or voucher digest
///     keccak256(voucherTypehash .. ceiling)        struct hash of the Voucher
///     ecrecover(digest, v, r, s)
///
/// If a member is moved, the offsets below move with it.
struct ClaimFrame {
    bytes32 configTypehash; // 0x000
    address payer;
    address payerAuthorizer;
    address receiver;
    address receiverAuthorizer;
    address token;
    uint256 withdrawDelay;
    bytes32 salt;
    uint256 prefix; // 0x100, the two bytes 0x1901 at the word's end
    bytes32 domainSeparator;
    bytes32 structHash;
    bytes32 voucherTypehash; // 0x160
    bytes32 channelId;
    uint256 ceiling;
    bytes32 digest; // 0x1c0
    uint256 v;
    bytes32 r;
    bytes32 s;
    uint256 totalClaimed; // 0x240
    uint256 headroom; // what the receiver's total can still grow by
    uint256 resultAt; // 0x280, where the next result goes in memory
}

using ClaimFrameLib for ClaimFrame global;

// Offsets of the frame's members, in bytes.
uint256 constant PAYER = 0x020;
uint256 constant PAYER_AUTHORIZER = 0x040;
uint256 constant SALT = 0x0e0;
uint256 constant EIP712_PREIMAGE = 0x11e; // the last two bytes of `prefix`
uint256 constant STRUCT_HASH = 0x140;
uint256 constant VOUCHER_PREIMAGE = 0x160;
uint256 constant CHANNEL_ID = 0x180;
uint256 constant CEILING = 0x1a0;
uint256 constant DIGEST = 0x1c0;
uint256 constant V = 0x1e0;
uint256 constant R = 0x200;
uint256 constant S = 0x220;
uint256 constant TOTAL_CLAIMED = 0x240;
uint256 constant RESULT_AT = 0x280;

// Row flags 0x01, 0x02, 0x04, 0x08; see ISessionChannels.claimPacked.
uint256 constant ALL_FLAGS = 0x0f;

// Bytes of the shortest row: flags 1, payer 20, ceiling 8, r 32, vs 32.
uint256 constant MIN_ROW_BYTES = 93;

// Bytes of one result of PackedClaimed: status 1, channelId 32, claimAmount 16, totalClaimed 16.
uint256 constant RESULT_BYTES = 65;

// Upper bound of a canonical ECDSA `s` (half the order of secp256k1); higher ones are malleable (EIP-2).
uint256 constant MAX_S = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

/// @title ClaimFrameLib
/// @notice Fills a ClaimFrame from a plain or packed row and hashes it in place: no memory grows with the rows.
library ClaimFrameLib {
    /// @notice A frame with everything that no row changes.
    function create(bytes32 domainSeparator) internal pure returns (ClaimFrame memory frame) {
        frame.configTypehash = ChannelTypes.CHANNEL_CONFIG;
        frame.prefix = 0x1901;
        frame.domainSeparator = domainSeparator;
        frame.voucherTypehash = ChannelTypes.VOUCHER;
    }

    /// @notice Loads the terms shared by a packed group's rows.
    function loadGroup(ClaimFrame memory frame, ISessionChannels.PackedGroup calldata group) internal pure {
        frame.receiver = group.receiver;
        frame.receiverAuthorizer = group.receiverAuthorizer;
        frame.token = group.token;
        frame.withdrawDelay = group.withdrawDelay;
    }

    /// @notice Loads a whole config.
    function loadConfig(ClaimFrame memory frame, ISessionChannels.ChannelConfig calldata config) internal pure {
        uint256 to;
        assembly ("memory-safe") {
            to := add(frame, PAYER)
        }
        ChannelTypes.copyConfig(config, to);
    }

    /// @notice Loads a 65-byte signature (r, s, v).
    /// @return loaded False when it has another length.
    function loadSignature(ClaimFrame memory frame, bytes calldata signature) internal pure returns (bool loaded) {
        assembly ("memory-safe") {
            loaded := eq(signature.length, 65)
            calldatacopy(add(frame, R), signature.offset, 0x40)
            mstore(add(frame, V), byte(0, calldataload(add(signature.offset, 0x40))))
        }
    }

    /// @notice Loads the packed row at calldata position `cursor`.
    /// @return next Position of the row after it; beyond all calldata when this one carries an unknown flag.
    /// @dev Without branches: an absent field has length zero, so what is read at its place is the field it defaults to
    /// (payerAuthorizer the payer, totalClaimed the ceiling), or is multiplied by zero (salt).
    function loadRow(ClaimFrame memory frame, uint256 cursor) internal pure returns (uint256 next) {
        assembly ("memory-safe") {
            let flags := byte(0, calldataload(cursor))

            cursor := add(cursor, 1)
            mstore(add(frame, PAYER), shr(96, calldataload(cursor)))
            cursor := add(cursor, mul(20, and(flags, 1)))
            mstore(add(frame, PAYER_AUTHORIZER), shr(96, calldataload(cursor)))
            cursor := add(cursor, 20)

            let hasSalt := and(shr(1, flags), 1)
            mstore(add(frame, SALT), mul(hasSalt, calldataload(cursor)))
            cursor := add(cursor, shl(5, hasSalt))

            let wide := and(flags, 4)
            let width := add(8, shl(1, wide)) // bytes: 8 or 16
            let unused := sub(192, shl(4, wide)) // bits of a word beyond the width: 192 or 128
            mstore(add(frame, CEILING), shr(unused, calldataload(cursor)))
            cursor := add(cursor, mul(width, shr(3, flags)))
            mstore(add(frame, TOTAL_CLAIMED), shr(unused, calldataload(cursor)))
            cursor := add(cursor, width)

            // EIP-2098: the highest bit of vs is the parity of v.
            mstore(add(frame, R), calldataload(cursor))
            let vs := calldataload(add(cursor, 32))
            mstore(add(frame, V), add(27, shr(255, vs)))
            mstore(add(frame, S), shr(1, shl(1, vs)))

            next := or(add(cursor, 64), sub(0, gt(flags, ALL_FLAGS)))
        }
    }

    /// @notice The channel id of the loaded config; also kept in the frame for the voucher.
    function hashChannel(ClaimFrame memory frame) internal pure returns (bytes32 channelId) {
        assembly ("memory-safe") {
            mstore(add(frame, STRUCT_HASH), keccak256(frame, 0x100))
            channelId := keccak256(add(frame, EIP712_PREIMAGE), 0x42)
            mstore(add(frame, CHANNEL_ID), channelId)
        }
    }

    /// @notice The digest of a voucher of the hashed channel up to `frame.ceiling`.
    function hashVoucher(ClaimFrame memory frame) internal pure returns (bytes32 digest) {
        assembly ("memory-safe") {
            mstore(add(frame, STRUCT_HASH), keccak256(add(frame, VOUCHER_PREIMAGE), 0x60))
            digest := keccak256(add(frame, EIP712_PREIMAGE), 0x42)
        }
    }

    /// @notice Whether `frame.payerAuthorizer`, which must not be zero, signed the loaded voucher of the hashed channel.
    /// @dev The precompile answers a bad signature with success and no data; it fails only for want of gas, and that must
    /// never pass for a bad signature.
    function isSigned(ClaimFrame memory frame) internal view returns (bool signed) {
        bool enoughGas;
        assembly ("memory-safe") {
            // hashVoucher, written out: as a call it would cost each packed row 40 gas
            mstore(add(frame, STRUCT_HASH), keccak256(add(frame, VOUCHER_PREIMAGE), 0x60))
            mstore(add(frame, DIGEST), keccak256(add(frame, EIP712_PREIMAGE), 0x42))

            mstore(0x00, 0)
            enoughGas := staticcall(gas(), 1, add(frame, DIGEST), 0x80, 0x00, 0x20)
            signed := eq(mload(0x00), mload(add(frame, PAYER_AUTHORIZER)))
            signed := and(signed, iszero(gt(mload(add(frame, S)), MAX_S)))
        }
        if (!enoughGas) revert ISessionChannels.InsufficientGas();
    }

    /// @notice Allocates room for the results of `maxRows` rows.
    function openResults(ClaimFrame memory frame, uint256 maxRows) internal pure returns (bytes memory results) {
        results = new bytes(maxRows * RESULT_BYTES);
        uint256 start;
        assembly ("memory-safe") {
            start := add(results, 0x20)
        }
        frame.resultAt = start;
    }

    /// @notice Writes the loaded row's result after the one before; at most `maxRows` times.
    /// @dev The last store ends exactly where the result ends.
    function writeResult(
        ClaimFrame memory frame,
        ISessionChannels.RowStatus status,
        uint256 claimAmount,
        uint256 totalClaimed
    ) internal pure {
        assembly ("memory-safe") {
            let at := mload(add(frame, RESULT_AT))
            mstore8(at, status)
            mstore(add(at, 1), mload(add(frame, CHANNEL_ID)))
            mstore(add(at, 33), or(shl(128, claimAmount), totalClaimed))
            mstore(add(frame, RESULT_AT), add(at, RESULT_BYTES))
        }
    }

    /// @notice Cuts `results` down to what was written.
    function closeResults(ClaimFrame memory frame, bytes memory results) internal pure {
        uint256 end = frame.resultAt;
        uint256 length;
        assembly ("memory-safe") {
            length := sub(end, add(results, 0x20))
        }
        assert(length <= results.length);
        assembly ("memory-safe") {
            mstore(results, length)
        }
    }
}
