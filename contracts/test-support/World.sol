// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ChannelsApi} from "./ChannelsApi.sol";
import {ISessionChannels} from "../interfaces/ISessionChannels.sol";
import {PullCollector} from "./Collectors.sol";
import {Digests} from "./Digests.sol";
import {PackedRows} from "./PackedRows.sol";
import {TestBase} from "./TestBase.sol";
import {ScriptedToken} from "./Tokens.sol";
import {ScriptedWallet} from "./Wallets.sol";

/// @notice Payers, receivers, authorizers and channels of every kind, and everything a test signs with their keys.
/// @dev Channels come in families: one (receiver, receiverAuthorizer, token, withdrawDelay) each, which is what a packed
/// group needs. Each family has one channel of every kind of payer.
abstract contract World is TestBase {
    uint256 internal constant CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

    uint256 internal constant PAYER_KEY = 0xA11CE;
    uint256 internal constant OTHER_PAYER_KEY = 0xB0B;
    uint256 internal constant VOUCHER_KEY = 0xC0DE;
    uint256 internal constant WALLET_KEY = 0xD0D0;
    uint256 internal constant RECEIVER_KEY = 0xE0E0;
    uint256 internal constant OTHER_RECEIVER_KEY = 0xE1E1;
    uint256 internal constant CLAIM_KEY = 0xF00D;
    uint256 internal constant CLAIM_WALLET_KEY = 0xF11D;
    uint256 internal constant THIEF_KEY = 0xBAD;

    uint256 internal constant FAMILIES = 4;
    uint256 internal constant KINDS = 7;
    uint256 internal constant CHANNELS = FAMILIES * KINDS;

    /// Kinds of payer; see `_config`.
    uint256 internal constant KIND_OWN_KEY = 0;
    uint256 internal constant KIND_SEPARATE_KEY = 1;
    uint256 internal constant KIND_ZERO_AUTHORIZER = 2;
    uint256 internal constant KIND_WALLET = 3;
    uint256 internal constant KIND_WALLET_SEPARATE_KEY = 4;
    uint256 internal constant KIND_SALT = 5;
    uint256 internal constant KIND_OTHER_PAYER = 6;

    struct Family {
        address receiver;
        address receiverAuthorizer;
        uint256 authorizerKey;
        address token;
        uint40 withdrawDelay;
    }

    ScriptedToken internal honest;
    ScriptedToken internal other;
    PullCollector internal collector;
    ScriptedWallet internal payerWallet;
    ScriptedWallet internal claimWallet;
    address internal thief;
    // Ids of the channels, and addresses of the keys they are made of: deriving them anew would take most of the time.
    mapping(address target => mapping(uint256 channel => bytes32)) private ids;
    address private payerAddress;
    address private otherPayerAddress;
    address private voucherAddress;
    Family[] internal families;

    function buildWorld() internal {
        vm.warp(1_800_000_000);
        honest = new ScriptedToken();
        other = new ScriptedToken();
        collector = new PullCollector();
        payerWallet = new ScriptedWallet(vm.addr(WALLET_KEY));
        claimWallet = new ScriptedWallet(vm.addr(CLAIM_WALLET_KEY));
        thief = vm.addr(THIEF_KEY);
        payerAddress = vm.addr(PAYER_KEY);
        otherPayerAddress = vm.addr(OTHER_PAYER_KEY);
        voucherAddress = vm.addr(VOUCHER_KEY);
        address receiver = vm.addr(RECEIVER_KEY);
        address otherReceiver = vm.addr(OTHER_RECEIVER_KEY);
        address authorizer = vm.addr(CLAIM_KEY);
        families.push(Family(receiver, receiver, RECEIVER_KEY, address(honest), 15 minutes));
        families.push(Family(receiver, authorizer, CLAIM_KEY, address(honest), 1 days));
        families.push(Family(otherReceiver, authorizer, CLAIM_KEY, address(other), 30 days));
        families.push(Family(otherReceiver, address(claimWallet), CLAIM_WALLET_KEY, address(honest), 15 minutes + 1));
        address[3] memory payers = [payerAddress, otherPayerAddress, address(payerWallet)];
        for (uint256 i = 0; i < 3; i++) {
            for (uint256 t = 0; t < 2; t++) {
                ScriptedToken token = t == 0 ? honest : other;
                token.mint(payers[i], type(uint160).max);
                vm.prank(payers[i]);
                token.approve(address(collector), type(uint256).max);
            }
        }
    }

    function deployChannels() internal returns (ChannelsApi target) {
        target = ChannelsApi(deploy("SessionChannels.sol:SessionChannels", ""));
        for (uint256 i = 0; i < CHANNELS; i++) {
            ids[address(target)][i] = Digests.channelId(address(target), configOf(i));
        }
    }

    // ------------------------------------------------------------------ channels

    function configOf(uint256 channel) internal view returns (ISessionChannels.ChannelConfig memory) {
        return _config(channel / KINDS, channel % KINDS);
    }

    function _config(uint256 family, uint256 kind) internal view returns (ISessionChannels.ChannelConfig memory c) {
        Family storage f = families[family];
        (c.receiver, c.receiverAuthorizer, c.token, c.withdrawDelay) =
            (f.receiver, f.receiverAuthorizer, f.token, f.withdrawDelay);
        c.payer = payerAddress;
        c.payerAuthorizer = c.payer;
        if (kind == KIND_SEPARATE_KEY) (c.payerAuthorizer, c.salt) = (voucherAddress, bytes32(uint256(1)));
        if (kind == KIND_ZERO_AUTHORIZER) c.payerAuthorizer = address(0);
        if (kind == KIND_WALLET) (c.payer, c.payerAuthorizer) = (address(payerWallet), address(0));
        if (kind == KIND_WALLET_SEPARATE_KEY) (c.payer, c.payerAuthorizer) = (address(payerWallet), voucherAddress);
        if (kind == KIND_SALT) c.salt = keccak256("salt");
        if (kind == KIND_OTHER_PAYER) (c.payer, c.payerAuthorizer) = (otherPayerAddress, otherPayerAddress);
    }

    function voucherKeyOf(uint256 channel) internal pure returns (uint256) {
        uint256 kind = channel % KINDS;
        if (kind == KIND_SEPARATE_KEY || kind == KIND_WALLET_SEPARATE_KEY) return VOUCHER_KEY;
        if (kind == KIND_WALLET) return WALLET_KEY;
        return kind == KIND_OTHER_PAYER ? OTHER_PAYER_KEY : PAYER_KEY;
    }

    function familyOf(uint256 channel) internal view returns (Family memory) {
        return families[channel / KINDS];
    }

    function signedByContract(uint256 channel) internal pure returns (bool) {
        return channel % KINDS == KIND_WALLET;
    }

    function idOf(ChannelsApi target, uint256 channel) internal view returns (bytes32) {
        return ids[address(target)][channel];
    }

    // ------------------------------------------------------------------ signatures

    function signature(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function compact(bytes memory sig) internal pure returns (bytes32 r, bytes32 vs) {
        bytes32 s;
        uint8 v = uint8(sig[64]);
        assembly {
            r := mload(add(sig, 32))
            s := mload(add(sig, 64))
        }
        vs = v == 28 ? s | bytes32(uint256(1) << 255) : s & bytes32(type(uint256).max >> 1);
    }

    /// @notice The other signature that ecrecover accepts for the same digest and key.
    function highS(bytes memory sig) internal pure returns (bytes memory) {
        bytes32 r;
        uint256 s;
        assembly {
            r := mload(add(sig, 32))
            s := mload(add(sig, 64))
        }
        return abi.encodePacked(r, CURVE_ORDER - s, uint8(sig[64]) == 27 ? uint8(28) : uint8(27));
    }

    function signVoucher(ChannelsApi target, uint256 channel, uint128 ceiling) internal view returns (bytes memory) {
        return signature(voucherKeyOf(channel), Digests.voucher(address(target), idOf(target, channel), ceiling));
    }

    // ------------------------------------------------------------------ rows

    /// What is wrong with a row's signature.
    enum Forgery {
        None,
        Thief,
        OtherCeiling,
        OtherChannel,
        OtherContract,
        FlippedBit,
        HighS,
        Zero
    }

    /// @notice A claim of one channel, before it is written as a plain or a packed row.
    struct Row {
        uint256 channel;
        uint128 ceiling;
        uint128 total;
        Forgery forgery;
    }

    function rowSignature(ChannelsApi target, Row memory row) internal view returns (bytes memory sig) {
        Forgery forgery = row.forgery;
        if (forgery == Forgery.Zero) return abi.encodePacked(bytes32(0), bytes32(0), uint8(27));
        if (forgery == Forgery.Thief) {
            return signature(THIEF_KEY, Digests.voucher(address(target), idOf(target, row.channel), row.ceiling));
        }
        if (forgery == Forgery.OtherCeiling) return signVoucher(target, row.channel, row.ceiling ^ 1);
        if (forgery == Forgery.OtherChannel) {
            bytes32 id = idOf(target, (row.channel + KINDS) % CHANNELS);
            return signature(voucherKeyOf(row.channel), Digests.voucher(address(target), id, row.ceiling));
        }
        if (forgery == Forgery.OtherContract) {
            bytes32 digest = Digests.voucher(address(this), idOf(target, row.channel), row.ceiling);
            return signature(voucherKeyOf(row.channel), digest);
        }
        sig = signVoucher(target, row.channel, row.ceiling);
        if (forgery == Forgery.FlippedBit) sig[5] ^= 0x10;
        if (forgery == Forgery.HighS) sig = highS(sig);
    }

    function plainRow(ChannelsApi target, Row memory row) internal view returns (ISessionChannels.VoucherClaim memory) {
        return ISessionChannels.VoucherClaim(
            ISessionChannels.Voucher(configOf(row.channel), row.ceiling), rowSignature(target, row), row.total
        );
    }

    function plainRows(ChannelsApi target, Row[] memory rows)
        internal
        view
        returns (ISessionChannels.VoucherClaim[] memory claims)
    {
        claims = new ISessionChannels.VoucherClaim[](rows.length);
        for (uint256 i = 0; i < rows.length; i++) {
            claims[i] = plainRow(target, rows[i]);
        }
    }

    /// @param seed Chooses among the forms a row may be written in; all mean the same.
    function packedRow(ChannelsApi target, Row memory row, uint256 seed) internal view returns (bytes memory) {
        ISessionChannels.ChannelConfig memory c = configOf(row.channel);
        (bytes32 r, bytes32 vs) = compact(rowSignature(target, row));
        PackedRows.Row memory packed =
            PackedRows.Row(c.payer, c.payerAuthorizer, c.salt, row.ceiling, row.total, r, vs);
        return PackedRows.encode(packed, uint8(seed));
    }

    /// @notice One group of a family; the sender must be the receiver or its authorizer, or `authorize` must follow.
    function groupOf(uint256 family, bytes memory rows, bytes32 receiptsRoot)
        internal
        view
        returns (ISessionChannels.PackedGroup memory)
    {
        Family storage f = families[family];
        return ISessionChannels.PackedGroup(
            f.receiver, f.receiverAuthorizer, f.token, f.withdrawDelay, receiptsRoot, rows, ""
        );
    }

    function authorize(ChannelsApi target, uint256 family, ISessionChannels.PackedGroup memory group) internal view {
        group.authorization = signature(families[family].authorizerKey, Digests.packedClaim(address(target), group));
    }

    function one(ISessionChannels.PackedGroup memory group)
        internal
        pure
        returns (ISessionChannels.PackedGroup[] memory groups)
    {
        groups = new ISessionChannels.PackedGroup[](1);
        groups[0] = group;
    }

    function one(ISessionChannels.VoucherClaim memory claim)
        internal
        pure
        returns (ISessionChannels.VoucherClaim[] memory claims)
    {
        claims = new ISessionChannels.VoucherClaim[](1);
        claims[0] = claim;
    }

    // ------------------------------------------------------------------ calls

    function depositTo(ChannelsApi target, uint256 channel, uint128 amount) internal {
        target.deposit(configOf(channel), amount, address(collector), "");
    }

    /// @notice data of the built-in ERC-3009 deposit and of the ERC-3009 collector.
    function authorizationData(
        uint256 key,
        address token,
        address to,
        bytes32 channelId,
        uint128 amount,
        uint256 validAfter,
        uint256 validBefore,
        uint256 salt
    ) internal view returns (bytes memory) {
        bytes32 digest = Digests.receiveWithAuthorization(
            ScriptedToken(token).DOMAIN_SEPARATOR(),
            vm.addr(key),
            to,
            amount,
            validAfter,
            validBefore,
            keccak256(abi.encode(channelId, salt))
        );
        return abi.encode(validAfter, validBefore, salt, signature(key, digest));
    }

    /// @notice One word that differs whenever a balance or a total does.
    function stateHash(ChannelsApi target) internal view returns (bytes32 hash) {
        for (uint256 i = 0; i < CHANNELS; i++) {
            (uint128 balance, uint128 claimed) = target.channels(idOf(target, i));
            hash = keccak256(abi.encode(hash, balance, claimed));
        }
        for (uint256 i = 0; i < FAMILIES; i++) {
            (uint128 claimed, uint128 settled) = target.receivers(families[i].receiver, families[i].token);
            hash = keccak256(abi.encode(hash, claimed, settled));
        }
    }
}
