// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ChannelsApi} from "./ChannelsApi.sol";
import {Digests} from "./Digests.sol";
import {IMandateRegistry} from "../interfaces/IMandateRegistry.sol";
import {ISessionChannels} from "../interfaces/ISessionChannels.sol";
import {MandateDigests} from "./MandateDigests.sol";
import {TestBase} from "./TestBase.sol";
import {ScriptedToken} from "./Tokens.sol";
import {ScriptedWallet} from "./Wallets.sol";

/// @notice The registry as tests call it.
interface RegistryApi is IMandateRegistry {
    function executeRow(SignedSpend calldata row, address sender) external;
    function simulateRow(SignedSpend calldata row, address sender) external;
    function sessionChannels() external view returns (address);
    function publishedChannels() external view returns (address);
}

/// @notice A registry, two principals (a key and a wallet), their agents, payees, and two trees of mandates:
///
///     0 root, key; periods of 100 s          4 root, wallet; payees 0 and 1; its delegate is a wallet
///     |- 1 periods of 70 s; payees 0 and 1   |- 5 granted by that wallet
///     |  `- 2 payee 0 only                   `- 6 the same, narrower
///     `- 3 all that 0 allows
abstract contract MandateWorld is TestBase {
    uint256 internal constant PRINCIPAL_KEY = 0xA11CE;
    uint256 internal constant PRINCIPAL_WALLET_KEY = 0xA22CE;
    uint256 internal constant AGENT_WALLET_KEY = 0xA99;
    uint256 internal constant THIEF_KEY = 0xBAD;
    uint256 internal constant MANDATES = 7;
    uint256 internal constant PAYEES = 4;
    uint40 internal constant START = 1_800_000_000;
    uint256 internal constant FOREVER = type(uint256).max;

    RegistryApi internal registry;
    ChannelsApi internal channels;
    ScriptedToken internal token;
    ScriptedWallet internal principalWallet;
    ScriptedWallet internal agentWallet;
    address internal principal;
    address internal thief;
    address[PAYEES] internal payees;
    IMandateRegistry.Mandate[MANDATES] internal mandates;
    bytes32[MANDATES] internal ids;
    uint256[MANDATES] internal parents;

    uint256 internal constant NO_PARENT = type(uint256).max;

    function buildMandates() internal {
        vm.warp(START);
        token = new ScriptedToken();
        channels = ChannelsApi(deploy("SessionChannels.sol:SessionChannels", ""));
        registry = RegistryApi(
            deploy("MandateRegistry.sol:MandateRegistry", abi.encode(address(channels), address(channels)))
        );
        principal = vm.addr(PRINCIPAL_KEY);
        thief = vm.addr(THIEF_KEY);
        principalWallet = new ScriptedWallet(vm.addr(PRINCIPAL_WALLET_KEY));
        agentWallet = new ScriptedWallet(vm.addr(AGENT_WALLET_KEY));
        for (uint256 i = 0; i < PAYEES; i++) {
            payees[i] = vm.addr(0xCAFE + i);
        }
        _fund(principal);
        _fund(address(principalWallet));
        _plant();
    }

    function _fund(address owner) private {
        token.mint(owner, 1e15);
        vm.prank(owner);
        token.approve(address(registry), type(uint256).max);
    }

    function _plant() private {
        bytes32 two = MandateDigests.rootOfTwo(payees[0], payees[1]);
        IMandateRegistry.Mandate memory m = base();
        (m.limit, m.paymentLimit, m.period, m.periodLimit) = (10_000, 1_500, 100, 3_000);
        (m.validAfter, m.validUntil) = (START + 10, START + 2_000);
        _add(0, m, NO_PARENT);
        (m.limit, m.paymentLimit, m.period, m.periodLimit) = (5_000, 1_000, 70, 1_200);
        (m.payeesRoot, m.validUntil) = (two, START + 1_800);
        _add(1, m, 0);
        (m.limit, m.paymentLimit, m.period, m.periodLimit) = (4_000, 1_000, 0, 0);
        (m.payeesRoot, m.validAfter) = (MandateDigests.leaf(payees[0]), START + 60);
        _add(2, m, 1);
        _add(3, mandates[0], 0);

        m = base();
        (m.principal, m.limit, m.paymentLimit) = (address(principalWallet), 8_000, 2_000);
        (m.validAfter, m.validUntil, m.payeesRoot) = (START, START + 3_000, two);
        _add(4, m, NO_PARENT);
        (m.period, m.periodLimit, m.payeesRoot) = (500, 2_500, bytes32(0));
        _add(5, m, 4);
        (m.limit, m.paymentLimit, m.period, m.periodLimit) = (2_000, 500, 0, 0);
        _add(6, m, 4);
    }

    /// @notice A root mandate of the principal's that allows much.
    function base() internal view returns (IMandateRegistry.Mandate memory m) {
        (m.principal, m.delegate, m.token) = (principal, agent(0), address(token));
        (m.limit, m.paymentLimit, m.validUntil) = (1e9, 1e9, type(uint40).max);
    }

    function _add(uint256 i, IMandateRegistry.Mandate memory m, uint256 parent) private {
        m.delegate = i == 4 ? address(agentWallet) : agent(i);
        m.parent = parent == NO_PARENT ? bytes32(0) : ids[parent];
        m.salt = bytes32(i);
        (mandates[i], parents[i], ids[i]) = (m, parent, idOf(m));
    }

    function idOf(IMandateRegistry.Mandate memory m) internal view returns (bytes32) {
        return MandateDigests.mandateId(address(registry), m);
    }

    // ------------------------------------------------------------------ people

    function agentKey(uint256 i) internal pure returns (uint256) {
        return i == 4 ? AGENT_WALLET_KEY : 0xA9E00 + i;
    }

    function agent(uint256 i) internal pure returns (address) {
        return vm.addr(agentKey(i));
    }

    /// @notice Key whose signature grants mandate i (of the wallet's owner, where a wallet grants it).
    function grantorKey(uint256 i) internal view returns (uint256) {
        if (parents[i] != NO_PARENT) return agentKey(parents[i]);
        return i == 0 ? PRINCIPAL_KEY : PRINCIPAL_WALLET_KEY;
    }

    function grantorOf(uint256 i) internal view returns (address) {
        return parents[i] == NO_PARENT ? mandates[i].principal : mandates[parents[i]].delegate;
    }

    function signature(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function grant(uint256 i) internal view returns (bytes memory) {
        return signature(grantorKey(i), ids[i]);
    }

    // ------------------------------------------------------------------ orders

    function depthOf(uint256 i) internal view returns (uint256 depth) {
        for (uint256 at = i; parents[at] != NO_PARENT; at = parents[at]) {
            depth++;
        }
    }

    /// @notice The index in the world of level `level` of the lineage of mandate i.
    function ancestor(uint256 i, uint256 level) internal view returns (uint256 at) {
        at = i;
        for (uint256 k = 0; k < level; k++) {
            at = parents[at];
        }
    }

    function lineageOf(uint256 i) internal view returns (IMandateRegistry.Mandate[] memory lineage) {
        lineage = new IMandateRegistry.Mandate[](depthOf(i) + 1);
        for (uint256 level = 0; level < lineage.length; level++) {
            lineage[level] = mandates[ancestor(i, level)];
        }
    }

    function one(IMandateRegistry.Mandate memory m) internal pure returns (IMandateRegistry.Mandate[] memory lineage) {
        lineage = new IMandateRegistry.Mandate[](1);
        lineage[0] = m;
    }

    function two(IMandateRegistry.Mandate memory child, IMandateRegistry.Mandate memory parent)
        internal
        pure
        returns (IMandateRegistry.Mandate[] memory lineage)
    {
        lineage = new IMandateRegistry.Mandate[](2);
        (lineage[0], lineage[1]) = (child, parent);
    }

    /// @notice The right proof at every level for one of the payees 0 and 1; for others a proof that fails.
    function proofsOf(uint256 i, address payee) internal view returns (bytes32[][] memory proofs) {
        proofs = new bytes32[][](depthOf(i) + 1);
        bytes32 pair = MandateDigests.rootOfTwo(payees[0], payees[1]);
        for (uint256 level = 0; level < proofs.length; level++) {
            if (mandates[ancestor(i, level)].payeesRoot != pair) continue;
            proofs[level] = new bytes32[](1);
            proofs[level][0] = MandateDigests.leaf(payee == payees[0] ? payees[1] : payees[0]);
        }
    }

    function orderOf(uint256 i, address payee, uint128 amount) internal view returns (IMandateRegistry.Spend memory) {
        return IMandateRegistry.Spend(lineageOf(i), proofsOf(i, payee), new bytes[](0), payee, amount, "");
    }

    /// @notice As above, under a mandate that is not of the world and any of whose payees is allowed.
    function orderOf(IMandateRegistry.Mandate memory m, address payee, uint128 amount)
        internal
        pure
        returns (IMandateRegistry.Spend memory)
    {
        return IMandateRegistry.Spend(one(m), new bytes32[][](0), new bytes[](0), payee, amount, "");
    }

    function unsigned(IMandateRegistry.Spend memory order) internal pure returns (IMandateRegistry.SignedSpend memory) {
        return IMandateRegistry.SignedSpend(order, 0, 0, "");
    }

    function signed(IMandateRegistry.Spend memory order, uint256 key, uint256 nonce)
        internal
        view
        returns (IMandateRegistry.SignedSpend memory row)
    {
        row = IMandateRegistry.SignedSpend(order, nonce, FOREVER, "");
        bytes32 id = idOf(order.lineage[0]);
        row.signature = signature(key, MandateDigests.spend(address(registry), id, row));
    }

    /// @notice `authorization` of an order, signed by `key`.
    function authorizationOf(uint256 key, bytes32 rootId, uint128 amount, uint256 salt)
        internal
        view
        returns (bytes memory)
    {
        bytes32 digest = Digests.receiveWithAuthorization(
            token.DOMAIN_SEPARATOR(),
            vm.addr(key),
            address(registry),
            amount,
            0,
            FOREVER,
            keccak256(abi.encode(rootId, salt))
        );
        return abi.encode(uint256(0), FOREVER, salt, signature(key, digest));
    }

    // ------------------------------------------------------------------ channels

    function channelOf(address payer, address receiver) internal view returns (ISessionChannels.ChannelConfig memory) {
        return ISessionChannels.ChannelConfig(
            payer, thief, receiver, receiver, address(token), 15 minutes, bytes32(0)
        );
    }

    /// @notice `collectorData` of a deposit into `config`, the order's payee being its receiver; signed by `key`.
    function depositData(
        ISessionChannels.ChannelConfig memory config,
        IMandateRegistry.Spend memory order,
        uint256 key,
        uint256 nonce
    ) internal view returns (bytes memory) {
        IMandateRegistry.SignedSpend memory row = IMandateRegistry.SignedSpend(order, nonce, FOREVER, "");
        bytes32 digest = MandateDigests.deposit(
            address(registry), idOf(order.lineage[0]), Digests.channelId(address(channels), config), row
        );
        row.signature = signature(key, digest);
        return abi.encode(IMandateRegistry.Deposit(config, row));
    }

    // ------------------------------------------------------------------ acts

    function approveAll() internal {
        for (uint256 i = 0; i < MANDATES; i++) {
            registry.approveWithSignature(lineageOf(i), grant(i));
        }
    }

    function spendAs(address sender, IMandateRegistry.Spend memory order) internal {
        vm.prank(sender);
        registry.spend(order);
    }

    function spentOf(bytes32 id) internal view returns (uint128) {
        return registry.mandates(id).spent;
    }
}
