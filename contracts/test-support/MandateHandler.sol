// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IMandateRegistry} from "../interfaces/IMandateRegistry.sol";
import {ISessionChannels} from "../interfaces/ISessionChannels.sol";
import {MandateDigests} from "./MandateDigests.sol";
import {MandateModel} from "./MandateModel.sol";
import {ScriptedToken} from "./Tokens.sol";

/// @notice Random agents, relayers and principals doing random things to one registry. Each action first asks the model what
/// must happen, then insists on exactly that: the effect, or the very error.
contract MandateHandler is MandateModel {
    /// The next unused nonce of each mandate, and one that was used.
    mapping(uint256 mandate => uint256) private nextNonce;
    mapping(uint256 mandate => uint256) private usedNonce;
    /// How often each action really moved something, so that a test can tell a lively run from an idle one.
    mapping(bytes4 action => uint256) public effects;
    uint256 private salt;

    constructor() {
        buildMandates();
    }

    // ------------------------------------------------------------------ paying

    function pay(uint256 seed) external {
        Plan memory plan = _plan(seed);
        _perform(plan, seed);
    }

    /// @notice The same order by two routes in turn: the first use of a budget must be seen by the second.
    function payTwice(uint256 seed) external {
        Plan memory plan = _plan(seed);
        _perform(plan, seed);
        plan.route = Route((uint256(plan.route) + 1 + seed % 4) % 5);
        if (plan.payee > 1 && plan.route == Route.ByDeposit) plan.payee = 1;
        _renew(plan, seed);
        _perform(plan, seed);
    }

    /// @notice Several orders in one batch; the bad ones change nothing.
    function payBatch(uint256 seed) external {
        uint256 count = 1 + seed % 4;
        IMandateRegistry.SignedSpend[] memory rows = new IMandateRegistry.SignedSpend[](count);
        for (uint256 i = 0; i < count; i++) {
            Plan memory plan = _plan(random(seed, i));
            (plan.route, plan.byAuthorization) = (Route.ByBatch, false);
            _renew(plan, random(seed, i));
            rows[i] = _row(plan);
            if (expectedError(plan) == 0) _applied(plan, MandateHandler.payBatch.selector);
        }
        vm.prank(thief);
        registry.spendBatch(rows);
    }

    function _perform(Plan memory plan, uint256 seed) private {
        bytes4 expected = expectedError(plan);
        if (plan.route == Route.ByDeposit) {
            _performDeposit(plan, expected);
            return;
        }
        IMandateRegistry.SignedSpend memory row = _row(plan);
        address sender = plan.route == Route.ByDelegate ? mandates[plan.mandate].delegate : thief;
        if (seed % 3 == 0) {
            (bool ok, bytes memory why) = registry.preview(row, sender);
            vm.assertEq(ok, expected == 0, "preview");
            if (!ok) vm.assertEq(bytes32(errorOf(why)), bytes32(expected), "preview's reason");
        }
        if (expected == 0) _applied(plan, MandateHandler.pay.selector);
        if (plan.route == Route.ByBatch) {
            IMandateRegistry.SignedSpend[] memory rows = new IMandateRegistry.SignedSpend[](1);
            rows[0] = row;
            vm.prank(sender);
            registry.spendBatch(rows);
        } else if (plan.route == Route.BySignature) {
            _must(sender, address(registry), abi.encodeCall(registry.spendWithSignature, (row)), expected);
        } else {
            _must(sender, address(registry), abi.encodeCall(registry.spend, (row.order)), expected);
        }
    }

    function _performDeposit(Plan memory plan, bytes4 expected) private {
        ISessionChannels.ChannelConfig memory config = _channel(plan);
        IMandateRegistry.Spend memory order = _order(plan);
        bytes memory data = depositData(config, order, _signer(plan), plan.nonce);
        if (plan.fault == Fault.Late) {
            IMandateRegistry.Deposit memory late = abi.decode(data, (IMandateRegistry.Deposit));
            late.row.deadline = block.timestamp - 1;
            data = abi.encode(late);
        }
        bytes memory call_ =
            abi.encodeCall(channels.deposit, (config, plan.amount, address(registry), data));
        if (expected == 0) _applied(plan, MandateHandler.refund.selector);
        _must(thief, address(channels), call_, expected);
    }

    function _channel(Plan memory plan) private view returns (ISessionChannels.ChannelConfig memory) {
        return channelOf(mandates[plan.mandate].principal, payees[plan.payee]);
    }

    function _applied(Plan memory plan, bytes4 action) private {
        effects[action]++;
        applyPlan(plan);
        bool used = plan.route != Route.ByDelegate && plan.route != Route.ByStranger;
        if (used) (usedNonce[plan.mandate], nextNonce[plan.mandate]) = (plan.nonce, plan.nonce + 1);
    }

    // ------------------------------------------------------------------ plans

    /// @dev Two of three are right in everything but, maybe, their size.
    function _plan(uint256 seed) private returns (Plan memory plan) {
        plan.mandate = random(seed, "mandate") % MANDATES;
        bool good = seed % 3 != 0;
        plan.payee = random(seed, "payee") % (good ? 2 : PAYEES);
        if (plan.mandate == 2 && good) plan.payee = 0;
        plan.amount = uint128(bound(random(seed, "amount"), 1, seed % 5 == 0 ? 11_000 : 700));
        plan.route = Route(random(seed, "route") % 5);
        if (good && plan.route == Route.ByStranger) plan.route = Route.ByDelegate;
        plan.proofs = good || seed % 2 == 0;
        plan.byAuthorization = plan.mandate < 4 && random(seed, "source") % 4 == 0;
        for (uint256 level = 0; level < 3; level++) {
            plan.approvals[level] = good ? 1 : uint8(random(seed, level) % 3);
        }
        if (!good) plan.fault = Fault(random(seed, "fault") % 4);
        _renew(plan, seed);
    }

    function _renew(Plan memory plan, uint256 seed) private {
        bool bySignature = plan.route != Route.ByDelegate && plan.route != Route.ByStranger;
        if (!bySignature) plan.fault = Fault.None;
        if (plan.fault == Fault.Replayed && nextNonce[plan.mandate] == 0) plan.fault = Fault.None;
        plan.nonce = plan.fault == Fault.Replayed ? usedNonce[plan.mandate] : nextNonce[plan.mandate];
        salt = random(salt, seed);
    }

    function _signer(Plan memory plan) private pure returns (uint256) {
        return plan.fault == Fault.Forged ? THIEF_KEY : agentKey(plan.mandate);
    }

    function _order(Plan memory plan) private returns (IMandateRegistry.Spend memory order) {
        order = orderOf(plan.mandate, payees[plan.payee], plan.amount);
        if (!plan.proofs) order.proofs = new bytes32[][](0);
        order.approvals = new bytes[](order.lineage.length);
        for (uint256 level = 0; level < order.approvals.length; level++) {
            if (plan.approvals[level] == 0) continue;
            uint256 i = ancestor(plan.mandate, level);
            order.approvals[level] = plan.approvals[level] == 1 ? grant(i) : signature(THIEF_KEY, ids[i]);
        }
        if (plan.byAuthorization) order.authorization = authorizationOf(PRINCIPAL_KEY, ids[0], plan.amount, ++salt);
    }

    function _row(Plan memory plan) private returns (IMandateRegistry.SignedSpend memory row) {
        IMandateRegistry.Spend memory order = _order(plan);
        if (plan.route == Route.ByDelegate || plan.route == Route.ByStranger) return unsigned(order);
        row = signed(order, _signer(plan), plan.nonce);
        if (plan.fault == Fault.Late) row.deadline = block.timestamp - 1;
    }

    // ------------------------------------------------------------------ granting and taking back

    function approve(uint256 seed) external {
        uint256 i = seed % MANDATES;
        bool signed_ = seed % 2 == 0;
        bool right = random(seed, "right") % 4 != 0;
        bytes4 expected;
        if (model[i].revoked) expected = IMandateRegistry.MandateIsRevoked.selector;
        else if (model[i].approved) expected = 0;
        else if (parents[i] != NO_PARENT && model[parents[i]].revoked) expected = IMandateRegistry.MandateIsRevoked.selector;
        else if (parents[i] != NO_PARENT && !model[parents[i]].approved) expected = IMandateRegistry.MandateNotApproved.selector;
        else if (!right) expected = signed_ ? IMandateRegistry.InvalidSignature.selector : IMandateRegistry.NotGrantor.selector;
        if (expected == 0) model[i].approved = true;
        bytes memory data = signed_
            ? abi.encodeCall(
                registry.approveWithSignature, (lineageOf(i), right ? grant(i) : signature(THIEF_KEY, ids[i]))
            )
            : abi.encodeCall(registry.approve, (lineageOf(i)));
        _must(signed_ || !right ? thief : grantorOf(i), address(registry), data, expected);
    }

    /// @dev Seldom, or nothing would be left to pay with.
    function revoke(uint256 seed) external {
        if (seed % 12 != 0) return;
        uint256 i = random(seed, "mandate") % MANDATES;
        uint256 who = random(seed, "who") % 4;
        address sender = who == 0 ? thief : who == 1 ? grantorOf(i) : mandates[i].principal;
        bool may = who != 0;
        if (may && !model[i].revoked) effects[MandateHandler.revoke.selector]++;
        if (may) model[i].revoked = true;
        _must(
            sender,
            address(registry),
            abi.encodeCall(registry.revoke, (lineageOf(i))),
            may ? bytes4(0) : IMandateRegistry.NotRevoker.selector
        );
    }

    function revokeBySignature(uint256 seed) external {
        if (seed % 20 != 0) return;
        uint256 i = random(seed, "mandate") % MANDATES;
        bool forged = seed % 3 == 0;
        bytes memory sig =
            signature(forged ? THIEF_KEY : grantorKey(i), MandateDigests.revocation(address(registry), ids[i]));
        if (!forged) model[i].revoked = true;
        _must(
            thief,
            address(registry),
            abi.encodeCall(
                registry.revokeWithSignature, (lineageOf(i), new IMandateRegistry.Withdrawal[](0), grantorOf(i), sig)
            ),
            forged ? IMandateRegistry.InvalidSignature.selector : bytes4(0)
        );
    }

    function bumpEpoch(uint256 seed) external {
        if (seed % 25 != 0) return;
        address who = seed % 2 == 0 ? principal : address(principalWallet);
        epochs[who]++;
        vm.prank(who);
        registry.bumpEpoch();
    }

    // ------------------------------------------------------------------ the rest of the world

    /// @notice Receivers give back what was deposited: it goes to the principal and restores no budget.
    function refund(uint256 seed, uint128 amount) external {
        if (token.mode() != ScriptedToken.Mode.Honest) return;
        ISessionChannels.ChannelConfig memory config = channelOf(principal, payees[seed % PAYEES]);
        uint256 before = token.balanceOf(principal);
        vm.prank(config.receiver);
        channels.refund(config, amount == 0 ? 1 : amount);
        refunded += token.balanceOf(principal) - before;
    }

    function setToken(uint256 seed) external {
        ScriptedToken.Mode[6] memory moods = [
            ScriptedToken.Mode.Honest,
            ScriptedToken.Mode.Honest,
            ScriptedToken.Mode.Honest,
            ScriptedToken.Mode.Paused,
            ScriptedToken.Mode.ReturnsFalse,
            ScriptedToken.Mode.FeeOnTransfer
        ];
        token.setMode(moods[seed % 6]);
    }

    function warp(uint256 by) external {
        vm.warp(block.timestamp + bound(by, 0, 90));
    }

    function _must(address sender, address target, bytes memory data, bytes4 expected) private {
        vm.prank(sender);
        (bool ok, bytes memory result) = target.call(data);
        if (expected == 0) {
            if (!ok) {
                assembly {
                    revert(add(result, 32), mload(result))
                }
            }
            return;
        }
        vm.assertTrue(!ok, "went through");
        vm.assertEq(bytes32(errorOf(result)), bytes32(expected), "error");
    }
}
