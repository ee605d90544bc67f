// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ISessionChannels} from "../interfaces/ISessionChannels.sol";
import {ChannelTypes} from "./ChannelTypes.sol";

/// @notice Scratch memory for hashing claim rows, allocated once a call and overwritten by every row.
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

// Row flags; see ISessionChannels.claimPacked.
uint256 constant FLAG_PAYER_AUTHORIZER = 0x01;
uint256 constant FLAG_SALT = 0x02;
uint256 constant FLAG_WIDE = 0x04;
uint256 constant FLAG_TOTAL = 0x08;
uint256 constant ALL_FLAGS = 0x0f;

// Bytes of the shortest row: flags 1, payer 20, ceiling 8, r 32, vs 32.
uint256 constant MIN_ROW_BYTES = 93;
// Bytes of a row without its ceiling and optional fields.
uint256 constant FIXED_ROW_BYTES = 85;

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
        assembly ("memory-safe") {
            let fields := add(frame, PAYER)
            calldatacopy(fields, config, 0xe0)
            // As Solidity's decoder does, refuse bits above an address (the first five words) or a uint40 (the sixth):
            // they would otherwise enter the channel id.
            let addresses := or(mload(fields), mload(add(fields, 0x20)))
            addresses := or(addresses, or(mload(add(fields, 0x40)), mload(add(fields, 0x60))))
            addresses := or(addresses, mload(add(fields, 0x80)))
            if or(shr(160, addresses), shr(40, mload(add(fields, 0xa0)))) { revert(0, 0) }
        }
    }

    /// @notice Loads the packed row at `offset` of `rows`.
    /// @return next Offset of the row after it, or 0 when this one is truncated or carries an unknown flag.
    function loadRow(ClaimFrame memory frame, bytes calldata rows, uint256 offset) internal pure returns (uint256 next) {
        assembly ("memory-safe") {
            let at := add(rows.offset, offset)
            let flags := byte(0, calldataload(at))
            let width := shl(iszero(iszero(and(flags, FLAG_WIDE))), 8)
            let size := add(FIXED_ROW_BYTES, width)
            size := add(size, mul(20, and(flags, FLAG_PAYER_AUTHORIZER)))
            size := add(size, shl(4, and(flags, FLAG_SALT)))
            size := add(size, mul(width, shr(3, and(flags, FLAG_TOTAL))))
            next := add(offset, size)

            switch or(gt(flags, ALL_FLAGS), gt(next, rows.length))
            case 1 { next := 0 }
            default {
                let payer := shr(96, calldataload(add(at, 1)))
                at := add(at, 21)
                mstore(add(frame, PAYER), payer)
                if and(flags, FLAG_PAYER_AUTHORIZER) {
                    payer := shr(96, calldataload(at))
                    at := add(at, 20)
                }
                mstore(add(frame, PAYER_AUTHORIZER), payer)

                let salt := 0
                if and(flags, FLAG_SALT) {
                    salt := calldataload(at)
                    at := add(at, 32)
                }
                mstore(add(frame, SALT), salt)

                let shift := sub(256, shl(3, width))
                let amount := shr(shift, calldataload(at))
                at := add(at, width)
                mstore(add(frame, CEILING), amount)
                if and(flags, FLAG_TOTAL) {
                    amount := shr(shift, calldataload(at))
                    at := add(at, width)
                }
                mstore(add(frame, TOTAL_CLAIMED), amount)

                // EIP-2098: the highest bit of vs is the parity of v.
                let vs := calldataload(add(at, 32))
                mstore(add(frame, V), add(27, shr(255, vs)))
                mstore(add(frame, R), calldataload(at))
                mstore(add(frame, S), shr(1, shl(1, vs)))
            }
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

    /// @notice The digest of a voucher of the hashed channel up to `frame.ceiling`; also kept in the frame.
    function hashVoucher(ClaimFrame memory frame) internal pure returns (bytes32 digest) {
        assembly ("memory-safe") {
            mstore(add(frame, STRUCT_HASH), keccak256(add(frame, VOUCHER_PREIMAGE), 0x60))
            digest := keccak256(add(frame, EIP712_PREIMAGE), 0x42)
            mstore(add(frame, DIGEST), digest)
        }
    }

    /// @notice Who signed the hashed voucher, or zero when the signature is malformed or malleable.
    /// @dev The precompile answers a bad signature with success and no data; it fails only for want of gas, and that must
    /// never pass for a bad signature.
    function recover(ClaimFrame memory frame) internal view returns (address signer) {
        if (uint256(frame.s) > MAX_S) return address(0);
        bool enoughGas;
        assembly ("memory-safe") {
            mstore(0x00, 0)
            enoughGas := staticcall(gas(), 1, add(frame, DIGEST), 0x80, 0x00, 0x20)
            signer := mload(0x00)
        }
        require(enoughGas, ISessionChannels.InsufficientGas());
    }
}
