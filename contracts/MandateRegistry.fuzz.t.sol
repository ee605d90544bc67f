// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IMandateRegistry} from "./interfaces/IMandateRegistry.sol";
import {MandateWorld} from "./test-support/MandateWorld.sol";
import {ScriptedToken} from "./test-support/Tokens.sol";
import {Vm} from "./test-support/Vm.sol";
import {ScriptedWallet} from "./test-support/Wallets.sol";

/// @notice `preview` against `spend`, `spendBatch` against single calls, `remaining` against what can be spent: for random
/// orders, good and bad in every way, in random states.
contract MandateRegistryFuzzTest is MandateWorld {
    function setUp() public {
        buildMandates();
    }

    /// @notice Some approved, some revoked, some already charged, at some time, with a token and wallets in some mood.
    function _randomState(uint256 seed) private {
        for (uint256 i = 0; i < MANDATES; i++) {
            if (random(seed, i) % 5 == 0) continue;
            if (parents[i] != NO_PARENT && !registry.mandates(ids[parents[i]]).approved) continue;
            registry.approveWithSignature(lineageOf(i), grant(i));
        }
        vm.warp(START + bound(random(seed, "time"), 0, 2_100));
        for (uint256 i = 0; i < 6; i++) {
            IMandateRegistry.SignedSpend memory row = _randomRow(random(seed, 100 + i), true);
            (bool ok,) = address(registry).call(abi.encodeCall(registry.spendWithSignature, (row)));
            ok;
        }
        if (seed % 6 == 0) {
            uint256 i = random(seed, "revoked") % MANDATES;
            vm.prank(mandates[i].principal);
            registry.revoke(lineageOf(i));
        }
        if (seed % 11 == 0) {
            vm.prank(principal);
            registry.bumpEpoch();
        }
        if (seed % 4 == 0) {
            token.setMode(_mood(random(seed, "mood")));
            if (token.mode() == ScriptedToken.Mode.Blacklists) token.setBlacklisted(payees[0]);
        }
        if (seed % 5 == 0) agentWallet.setMode(ScriptedWallet.Mode(random(seed, "wallet") % 3), 0);
    }

    /// @dev All but those that answer by the gas they have, or more than a batch repeats: these have tests of their own.
    function _mood(uint256 seed) private pure returns (ScriptedToken.Mode mood) {
        mood = ScriptedToken.Mode(seed % (uint256(type(ScriptedToken.Mode).max) + 1));
        bool odd = mood == ScriptedToken.Mode.Reenters || mood == ScriptedToken.Mode.ReturnBomb;
        if (odd) mood = ScriptedToken.Mode.Paused;
    }

    /// @param good Whether it is right in everything but, maybe, its amount.
    function _randomRow(uint256 seed, bool good) private view returns (IMandateRegistry.SignedSpend memory row) {
        uint256 i = random(seed, "mandate") % MANDATES;
        uint256 what = good ? 99 : random(seed, "what") % 16;
        uint256 amount = random(seed, "amount");
        address payee = payees[random(seed, "payee") % (good ? 1 : PAYEES)];
        if (what == 0) payee = [address(0), address(registry), address(channels)][amount % 3];
        uint128 atomic = uint128(bound(amount >> 8, what == 1 ? 0 : 1, what < 4 ? 20_000 : 900));
        if (what == 2) atomic = type(uint128).max;
        IMandateRegistry.Spend memory order = orderOf(i, payee, atomic);
        order.approvals = new bytes[](good ? order.lineage.length : random(seed, "approvals") % (order.lineage.length + 2));
        for (uint256 level = 0; level < order.approvals.length && level < order.lineage.length; level++) {
            if (!good && random(seed, level) % 3 == 0) continue;
            order.approvals[level] = grant(ancestor(i, level));
            if (!good && random(seed, level) % 3 == 1 && amount % 4 == 0) order.approvals[level][7] ^= 0x01;
        }
        if (what == 3) order.proofs = new bytes32[][](0);
        if (what == 4) order.lineage[order.lineage.length - 1].limit++;
        if (what == 5) order.lineage = new IMandateRegistry.Mandate[](amount % 12);
        if (what == 6 && i < 4) {
            order.authorization = authorizationOf(PRINCIPAL_KEY, ids[0], atomic + uint128(amount % 2), seed);
        }
        if (what == 7) order.authorization = abi.encode(seed);
        if (order.lineage.length == 0) return unsigned(order);
        if (what == 8) return unsigned(order);
        row = signed(order, what == 9 ? THIEF_KEY : agentKey(i), what == 10 ? 0 : random(seed, "nonce") % 4);
        if (what == 11) row.deadline = block.timestamp - 1;
        if (what == 12) row.signature = new bytes(amount % 70);
    }

    function _senderOf(uint256 seed, IMandateRegistry.SignedSpend memory row) private view returns (address) {
        if (seed % 3 == 0 || row.order.lineage.length == 0) return thief;
        return row.order.lineage[0].delegate;
    }

    /// @notice One word that differs whenever anything the registry keeps, or anybody has, does.
    function _state() private view returns (bytes32 state) {
        for (uint256 i = 0; i < MANDATES; i++) {
            state = keccak256(abi.encode(state, registry.mandates(ids[i]), registry.isNonceUsed(ids[i], 0)));
            state = keccak256(abi.encode(state, registry.isNonceUsed(ids[i], 1), registry.isNonceUsed(ids[i], 2)));
        }
        for (uint256 i = 0; i < PAYEES; i++) {
            state = keccak256(abi.encode(state, token.balanceOf(payees[i])));
        }
        address wallet = address(principalWallet);
        return keccak256(
            abi.encode(state, token.balanceOf(principal), token.balanceOf(wallet), token.balanceOf(address(registry)))
        );
    }

    // ------------------------------------------------------------------ preview equals spend

    /// @dev An invalid() token burns 63/64 of what it gets, however much, so what is left after one level more differs.
    function testFuzz_previewIsSpend(uint256 seed) public {
        _randomState(seed);
        for (uint256 i = 0; i < 4; i++) {
            _compare(random(seed, 1_000 + i));
        }
    }

    function _compare(uint256 seed) private {
        IMandateRegistry.SignedSpend memory row = _randomRow(seed, seed % 4 == 0);
        address sender = _senderOf(seed, row);
        bytes32 before = _state();
        (bool said, bytes memory why) = registry.preview(row, sender);
        vm.assertEq(_state(), before, "preview changed something");

        bytes memory data = row.signature.length == 0
            ? abi.encodeCall(registry.spend, (row.order))
            : abi.encodeCall(registry.spendWithSignature, (row));
        vm.prank(sender);
        (bool done, bytes memory error_) = address(registry).call(data);
        vm.assertEq(said, done, "preview and spend disagree");
        if (!done) vm.assertEq(why, error_, "for different reasons");
        if (!done) vm.assertEq(_state(), before, "a refused payment changed something");
        if (done) vm.assertEq(why.length, 0, "a reason without a refusal");
    }

    /// @notice The random orders are worth comparing: many are paid, and the others are refused in many ways.
    function test_randomOrdersAreOfEveryKind() public {
        bytes4[] memory seen = new bytes4[](40);
        (uint256 paid, uint256 kinds) = (0, 0);
        for (uint256 seed = 0; seed < 240; seed++) {
            uint256 start = vm.snapshotState();
            _randomState(seed);
            IMandateRegistry.SignedSpend memory row = _randomRow(random(seed, "row"), seed % 4 == 0);
            (bool ok, bytes memory why) = registry.preview(row, _senderOf(seed, row));
            vm.revertToState(start);
            if (ok) paid++;
            uint256 i = 0;
            while (i < kinds && seen[i] != errorOf(why)) i++;
            if (i == kinds) seen[kinds++] = errorOf(why);
        }
        vm.assertTrue(paid > 30, vm.toString(paid));
        vm.assertTrue(kinds > 14, vm.toString(kinds));
    }

    // ------------------------------------------------------------------ batch equals singles

    function testFuzz_batchIsItsRows(uint256 seed) public {
        _randomState(seed);
        IMandateRegistry.SignedSpend[] memory rows = new IMandateRegistry.SignedSpend[](5);
        for (uint256 i = 0; i < rows.length; i++) {
            rows[i] = _randomRow(random(seed, 2_000 + i), seed % 2 == 0);
        }
        uint256 start = vm.snapshotState();
        bytes[] memory reasons = new bytes[](rows.length);
        for (uint256 i = 0; i < rows.length; i++) {
            bytes memory data = abi.encodeCall(registry.spendWithSignature, (rows[i]));
            vm.prank(thief);
            (bool ok, bytes memory reason) = address(registry).call(data);
            if (!ok) reasons[i] = abi.encode(reason);
        }
        bytes32 bySingles = _state();
        vm.revertToState(start);
        vm.recordLogs();
        vm.prank(thief);
        registry.spendBatch(rows);
        vm.assertEq(_state(), bySingles, "batch and singles disagree");
        _checkSkipped(rows, reasons);
    }

    function _checkSkipped(IMandateRegistry.SignedSpend[] memory rows, bytes[] memory reasons) private {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        uint256 skipped;
        for (uint256 i = 0; i < logs.length; i++) {
            if (logs[i].topics[0] != IMandateRegistry.SpendSkipped.selector) continue;
            uint256 row = uint256(logs[i].topics[1]);
            vm.assertEq(logs[i].data, reasons[row], "reason");
            IMandateRegistry.Mandate[] memory lineage = rows[row].order.lineage;
            vm.assertEq(logs[i].topics[2], lineage.length == 0 ? bytes32(0) : idOf(lineage[0]), "mandate");
            skipped++;
        }
        uint256 expected;
        for (uint256 i = 0; i < reasons.length; i++) {
            if (reasons[i].length != 0) expected++;
        }
        vm.assertEq(skipped, expected, "skipped");
    }

    // ------------------------------------------------------------------ remaining

    /// @notice All that remains can be spent, in payments of the size allowed, and not one unit more.
    function testFuzz_remainingIsWhatCanBeSpent(uint256 seed) public {
        _randomState(seed);
        token.setMode(ScriptedToken.Mode.Honest);
        agentWallet.setMode(ScriptedWallet.Mode.Honest, 0);
        uint256 i = random(seed, "mandate") % MANDATES;
        uint128 left = registry.remaining(lineageOf(i));
        uint128 most = mandates[i].paymentLimit;
        address sender = mandates[i].delegate;
        while (left > 0) {
            uint128 amount = left < most ? left : most;
            spendAs(sender, orderOf(i, payees[0], amount));
            left -= amount;
            vm.assertEq(registry.remaining(lineageOf(i)), left, "remaining");
        }
        vm.expectRevert();
        vm.prank(sender);
        registry.spend(orderOf(i, payees[0], 1));
    }
}
