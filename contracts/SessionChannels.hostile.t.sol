// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {ISessionChannels} from "./interfaces/ISessionChannels.sol";
import {ChannelsApi} from "./test-support/ChannelsApi.sol";
import {CrookedCollector} from "./test-support/Collectors.sol";
import {Digests} from "./test-support/Digests.sol";
import {ScriptedToken} from "./test-support/Tokens.sol";
import {ScriptedWallet} from "./test-support/Wallets.sol";
import {World} from "./test-support/World.sol";

/// @notice Tokens, wallets and collectors that lie, refuse, call back or burn gas.
contract SessionChannelsHostileTest is World {
    /// Family 0: receiver is its own authorizer; the channel's payer signs with its own key.
    uint256 private constant CHANNEL = 0;
    uint128 private constant BALANCE = 1000e6;

    ChannelsApi private channels;
    address private payer;
    address private receiver;

    event SettleFailed(address indexed receiver, address indexed token, address indexed sender, uint128 amount);
    event Settled(address indexed receiver, address indexed token, address indexed sender, uint128 amount);

    function setUp() public {
        buildWorld();
        channels = deployChannels();
        payer = vm.addr(PAYER_KEY);
        receiver = vm.addr(RECEIVER_KEY);
        for (uint256 i = 0; i < KINDS; i++) {
            depositTo(channels, i, BALANCE);
        }
    }

    function _rows(uint256 channel, uint128 total) private view returns (ISessionChannels.VoucherClaim[] memory) {
        return one(plainRow(channels, Row(channel, total, total, Forgery.None)));
    }

    function _claim(uint128 total) private {
        ISessionChannels.VoucherClaim[] memory rows = _rows(CHANNEL, total);
        vm.prank(receiver);
        channels.claim(rows);
    }

    function _claimAndSettle(uint256 channel, uint128 total) private {
        ISessionChannels.VoucherClaim[] memory rows = _rows(channel, total);
        vm.prank(receiver);
        channels.claimAndSettle(rows, "");
    }

    function _expectTotals(uint128 claimed, uint128 settled) private view {
        (uint128 c, uint128 s) = channels.receivers(receiver, address(honest));
        vm.assertEq(c, claimed, "receiver claimed");
        vm.assertEq(s, settled, "receiver settled");
    }

    function _expectBalance(uint256 channel, uint128 balance) private view {
        (uint128 actual,) = channels.channels(idOf(channels, channel));
        vm.assertEq(actual, balance, "balance");
    }

    function _checkSolvent() private view {
        uint256 owed;
        for (uint256 i = 0; i < KINDS; i++) {
            (uint128 balance, uint128 claimed) = channels.channels(idOf(channels, i));
            owed += balance - claimed;
        }
        (uint128 total, uint128 settled) = channels.receivers(receiver, address(honest));
        vm.assertGe(honest.balanceOf(address(channels)), owed + total - settled, "solvent");
    }

    // ------------------------------------------------------------------ tokens, money in

    function test_depositOfAFeeTokenFails() public {
        honest.setMode(ScriptedToken.Mode.FeeOnTransfer);
        vm.expectRevert(ISessionChannels.DepositCollectionFailed.selector);
        depositTo(channels, CHANNEL, 100);
        bytes memory data = authorizationData(
            PAYER_KEY, address(honest), address(channels), idOf(channels, CHANNEL), 100, 0, type(uint256).max, 1
        );
        vm.expectRevert(ISessionChannels.DepositCollectionFailed.selector);
        channels.deposit(configOf(CHANNEL), 100, address(channels), data);
        _expectBalance(CHANNEL, BALANCE);
    }

    function test_depositThatArrivesWithMoreFails() public {
        honest.setMode(ScriptedToken.Mode.Overpays);
        vm.expectRevert(ISessionChannels.DepositCollectionFailed.selector);
        depositTo(channels, CHANNEL, 100);
    }

    function testFuzz_collectorThatMovesAnotherAmount(int128 difference) public {
        CrookedCollector crooked = new CrookedCollector();
        difference = int128(int256(bound(uint256(int256(difference)), 0, 2000))) - 1000;
        crooked.setDifference(difference);
        vm.prank(payer);
        honest.approve(address(crooked), type(uint256).max);
        if (difference != 0) vm.expectRevert(ISessionChannels.DepositCollectionFailed.selector);
        channels.deposit(configOf(CHANNEL), 1000, address(crooked), "");
        _expectBalance(CHANNEL, difference == 0 ? BALANCE + 1000 : BALANCE);
    }

    /// @notice A token that moves nothing and says nothing: the built-in path notices by the balance alone.
    function test_builtInDepositThatMovesNothing() public {
        honest.setMode(ScriptedToken.Mode.ReturnsFalse);
        bytes memory data = authorizationData(
            PAYER_KEY, address(honest), address(channels), idOf(channels, CHANNEL), 100, 0, type(uint256).max, 1
        );
        vm.expectRevert(ISessionChannels.DepositCollectionFailed.selector);
        channels.deposit(configOf(CHANNEL), 100, address(channels), data);
    }

    /// @notice A deposit cannot be paid with what the contract already holds for others.
    function test_depositCannotUseTheContractsOwnTokens() public {
        ISessionChannels.ChannelConfig memory config = configOf(CHANNEL);
        config.payer = address(channels);
        vm.expectRevert(abi.encodeWithSelector(ScriptedToken.NotAllowed.selector));
        channels.deposit(config, 100, address(collector), "");
    }

    // ------------------------------------------------------------------ tokens, money out

    /// @notice However the token reverts, claimAndSettle keeps the claim, says so, and settle pays once the token gives in.
    function test_claimAndSettleSurvivesEveryRefusal() public {
        ScriptedToken.Mode[4] memory modes = [
            ScriptedToken.Mode.Paused,
            ScriptedToken.Mode.Blacklists,
            ScriptedToken.Mode.BurnsGas,
            ScriptedToken.Mode.ReturnBomb
        ];
        for (uint256 i = 0; i < modes.length; i++) {
            uint256 start = vm.snapshotState();
            honest.setBlacklisted(receiver);
            honest.setMode(modes[i]);
            vm.expectEmit(true, true, true, true, address(channels));
            emit SettleFailed(receiver, address(honest), receiver, 7);
            _claimAndSettle(CHANNEL, 7);
            _expectTotals(7, 0);
            _checkSolvent();

            vm.expectRevert();
            channels.settle(receiver, address(honest));
            _expectTotals(7, 0);

            honest.setMode(ScriptedToken.Mode.Honest);
            channels.settle(receiver, address(honest));
            _expectTotals(7, 7);
            vm.assertEq(honest.balanceOf(receiver), 7, "paid once");
            vm.revertToState(start);
        }
    }

    /// @notice A call that did not revert but did not answer true may have moved the tokens (Tether Gold's does). To count it
    /// as refused would pay again from the deposits of others, so the whole call reverts, as settle does.
    function test_answerOtherThanTrueRevertsClaimAndSettle() public {
        ScriptedToken.Mode[3] memory modes = [
            ScriptedToken.Mode.ReturnsFalse,
            ScriptedToken.Mode.MovesAndReturnsFalse,
            ScriptedToken.Mode.ReturnsGarbage
        ];
        ISessionChannels.VoucherClaim[] memory rows = _rows(CHANNEL, BALANCE);
        for (uint256 i = 0; i < modes.length; i++) {
            honest.setMode(modes[i]);
            vm.prank(receiver);
            vm.expectRevert(abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, honest));
            channels.claimAndSettle(rows, "");
            vm.assertEq(honest.balanceOf(receiver), 0, "paid");
            _expectTotals(0, 0);
        }
    }

    function test_refusingTokenLeavesEverythingAsItWas() public {
        _claim(10);
        vm.prank(payer);
        channels.initiateWithdraw(configOf(CHANNEL), 50);
        vm.warp(block.timestamp + 31 days);
        ScriptedToken.Mode[4] memory modes = [
            ScriptedToken.Mode.ReturnsFalse,
            ScriptedToken.Mode.MovesAndReturnsFalse,
            ScriptedToken.Mode.Paused,
            ScriptedToken.Mode.ReturnsGarbage
        ];
        for (uint256 i = 0; i < modes.length; i++) {
            honest.setMode(modes[i]);
            bytes memory refusal = abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, honest);
            if (modes[i] == ScriptedToken.Mode.Paused) {
                refusal = abi.encodeWithSelector(ScriptedToken.EnforcedPause.selector);
            }
            vm.expectRevert(refusal);
            channels.settle(receiver, address(honest));
            vm.expectRevert(refusal);
            vm.prank(receiver);
            channels.refund(configOf(CHANNEL), 5);
            vm.expectRevert(refusal);
            vm.prank(payer);
            channels.finalizeWithdraw(configOf(CHANNEL));
        }
        _expectTotals(10, 0);
        _expectBalance(CHANNEL, BALANCE);
        vm.assertEq(channels.refundNonce(idOf(channels, CHANNEL)), 0, "refund nonce");
        (uint128 pending,) = channels.pendingWithdrawals(idOf(channels, CHANNEL));
        vm.assertEq(pending, 50, "pending");
    }

    function test_tokenWithoutReturnDataWorks() public {
        honest.setMode(ScriptedToken.Mode.NoReturnData);
        depositTo(channels, CHANNEL, 100);
        _claimAndSettle(CHANNEL, 7);
        _expectTotals(7, 7);
        _claim(9);
        channels.settle(receiver, address(honest));
        _expectTotals(9, 9);
        vm.prank(receiver);
        channels.refund(configOf(CHANNEL), 5);
        _expectBalance(CHANNEL, BALANCE + 95);
        _checkSolvent();
    }

    function test_blacklistedPayerKeepsItsClaims() public {
        honest.setBlacklisted(payer);
        vm.expectRevert(abi.encodeWithSelector(ScriptedToken.Blacklisted.selector, payer));
        vm.prank(receiver);
        channels.refund(configOf(CHANNEL), 5);
        _claimAndSettle(CHANNEL, 7);
        _expectTotals(7, 7);
        _expectBalance(CHANNEL, BALANCE);
    }

    /// @notice A fee falls on whoever is paid, never on the deposits of others.
    function test_feeOnTheWayOutFallsOnTheReceiver() public {
        honest.setMode(ScriptedToken.Mode.FeeOnTransfer);
        _claimAndSettle(CHANNEL, 1000);
        vm.assertEq(honest.balanceOf(receiver), 990, "receiver");
        _expectTotals(1000, 1000);
        _checkSolvent();
    }

    /// @notice A token that is no contract any more (or never was) cannot be "paid" by an empty call.
    function test_tokenWithoutCode() public {
        _claim(7);
        vm.etch(address(honest), "");
        vm.expectEmit(true, true, true, true, address(channels));
        emit SettleFailed(receiver, address(honest), receiver, 8);
        _claimAndSettle(CHANNEL, 8);
        _expectTotals(8, 0);
        vm.expectRevert(abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, honest));
        channels.settle(receiver, address(honest));
    }

    /// @notice claimAndSettle pays every (receiver, token) its rows name, and one refusal does not touch the others.
    function test_claimAndSettleAcrossReceivers() public {
        (uint256 a, uint256 b) = (1 * KINDS, 2 * KINDS);
        depositTo(channels, a, 100);
        depositTo(channels, b, 100);
        other.setMode(ScriptedToken.Mode.Paused);
        ISessionChannels.VoucherClaim[] memory rows = new ISessionChannels.VoucherClaim[](3);
        rows[0] = plainRow(channels, Row(a, 5, 5, Forgery.None));
        rows[1] = plainRow(channels, Row(b, 6, 6, Forgery.None));
        rows[2] = plainRow(channels, Row(a, 8, 8, Forgery.None));
        vm.prank(vm.addr(CLAIM_KEY));
        channels.claimAndSettle(rows, "");
        _expectTotals(8, 8);
        vm.assertEq(honest.balanceOf(receiver), 8, "receiver");
        (uint128 claimed, uint128 settled) = channels.receivers(vm.addr(OTHER_RECEIVER_KEY), address(other));
        vm.assertEq(claimed, 6, "other claimed");
        vm.assertEq(settled, 0, "other settled");
    }

    // ------------------------------------------------------------------ reentrancy

    /// @notice From inside every call that leaves the contract, every verb is closed.
    function test_reentrantTokenFindsEveryVerbClosed() public {
        _claim(10);
        vm.prank(payer);
        channels.initiateWithdraw(configOf(CHANNEL), 50);
        vm.warp(block.timestamp + 31 days);
        bytes[] memory verbs = _verbs();
        for (uint256 outer = 0; outer < 6; outer++) {
            for (uint256 inner = 0; inner < verbs.length; inner++) {
                uint256 start = vm.snapshotState();
                honest.setHook(address(channels), verbs[inner]);
                _outward(outer);
                vm.assertEq(honest.hookCalls(), 1, "hook called once");
                vm.assertTrue(!honest.hookOk(), "reentered");
                bytes memory refusal =
                    abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
                vm.assertEq(honest.hookResult(), refusal, "refusal");
                _checkSolvent();
                vm.revertToState(start);
            }
        }
    }

    function test_reentrantCollectorFindsEveryVerbClosed() public {
        bytes[] memory verbs = _verbs();
        CrookedCollector crooked = new CrookedCollector();
        vm.prank(payer);
        honest.approve(address(crooked), type(uint256).max);
        for (uint256 inner = 0; inner < verbs.length; inner++) {
            crooked.setHook(address(channels), verbs[inner]);
            channels.deposit(configOf(CHANNEL), 1, address(crooked), "");
            vm.assertTrue(!crooked.hookOk(), "reentered");
            bytes memory refusal =
                abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
            vm.assertEq(crooked.hookResult(), refusal, "refusal");
        }
    }

    function _outward(uint256 verb) private {
        ISessionChannels.ChannelConfig memory config = configOf(CHANNEL);
        if (verb == 0) channels.settle(receiver, address(honest));
        if (verb == 1) _claimAndSettle(CHANNEL, 11);
        if (verb == 2) {
            vm.prank(receiver);
            channels.refund(config, 5);
        }
        if (verb == 3) {
            bytes memory sig =
                signature(RECEIVER_KEY, Digests.refund(address(channels), idOf(channels, CHANNEL), 0, 5));
            channels.refundWithSignature(config, 5, 0, sig);
        }
        if (verb == 4) {
            vm.prank(payer);
            channels.finalizeWithdraw(config);
        }
        if (verb == 5) depositTo(channels, CHANNEL, 5);
    }

    /// @dev One call of every state-changing verb, multicall included; the guard must answer before anything else does.
    function _verbs() private view returns (bytes[] memory verbs) {
        ISessionChannels.ChannelConfig memory config = configOf(CHANNEL);
        ISessionChannels.VoucherClaim[] memory rows = _rows(CHANNEL, 12);
        ISessionChannels.PackedGroup[] memory groups =
            one(groupOf(0, packedRow(channels, Row(CHANNEL, 12, 12, Forgery.None), 0), 0));
        verbs = new bytes[](12);
        verbs[0] = abi.encodeCall(channels.deposit, (config, 1, address(collector), ""));
        verbs[1] = abi.encodeCall(channels.claim, (rows));
        verbs[2] = abi.encodeCall(channels.claimWithSignature, (rows, ""));
        verbs[3] = abi.encodeCall(channels.claimPacked, (groups));
        verbs[4] = abi.encodeCall(channels.claimAndSettle, (rows, ""));
        verbs[5] = abi.encodeCall(channels.settle, (receiver, address(honest)));
        verbs[6] = abi.encodeCall(channels.initiateWithdraw, (config, 1));
        verbs[7] = abi.encodeCall(channels.cancelWithdraw, (config));
        verbs[8] = abi.encodeCall(channels.finalizeWithdraw, (config));
        verbs[9] = abi.encodeCall(channels.refund, (config, 1));
        verbs[10] = abi.encodeCall(channels.refundWithSignature, (config, 1, 0, ""));
        bytes[] memory calls = new bytes[](1);
        calls[0] = verbs[5];
        verbs[11] = abi.encodeCall(channels.multicall, (calls));
    }

    // ------------------------------------------------------------------ wallets

    /// @notice A payer's wallet decides its own vouchers, and nothing it does but saying yes claims anything.
    function test_payerWalletThatRefuses() public {
        ISessionChannels.VoucherClaim[] memory rows = _rows(KIND_WALLET, 7);
        for (uint256 mode = 1; mode <= uint256(type(ScriptedWallet.Mode).max); mode++) {
            payerWallet.setMode(ScriptedWallet.Mode(mode), type(uint256).max);
            vm.prank(receiver);
            vm.expectRevert(ISessionChannels.InvalidSignature.selector);
            channels.claim(rows);
        }
        payerWallet.setMode(ScriptedWallet.Mode.Honest, 0);
        vm.prank(receiver);
        channels.claim(rows);
        _expectTotals(7, 0);
    }

    /// @notice A wallet that takes its word back after a claim changes nothing of it; after that it refuses new ones.
    function test_payerWalletThatFlips() public {
        ISessionChannels.VoucherClaim[] memory rows = _rows(KIND_WALLET, 7);
        vm.prank(receiver);
        channels.claim(rows);
        payerWallet.setMode(ScriptedWallet.Mode.Refuses, 0);
        vm.prank(receiver);
        channels.claim(rows);
        _expectTotals(7, 0);
        rows = _rows(KIND_WALLET, 8);
        vm.prank(receiver);
        vm.expectRevert(ISessionChannels.InvalidSignature.selector);
        channels.claim(rows);
    }

    /// @notice A separate payerAuthorizer's signature stands whatever the payer's wallet says.
    function test_payerWalletIsNotAskedWhenAKeySigns() public {
        payerWallet.setMode(ScriptedWallet.Mode.BurnsGas, 0);
        _claimAndSettle(KIND_WALLET_SEPARATE_KEY, 7);
        _expectTotals(7, 7);
    }

    function test_authorizerWalletThatRefuses() public {
        uint256 channel = 3 * KINDS;
        depositTo(channels, channel, 100);
        ISessionChannels.VoucherClaim[] memory rows = _rows(channel, 7);
        bytes memory batch = signature(CLAIM_WALLET_KEY, Digests.claimBatch(address(channels), rows));
        ISessionChannels.PackedGroup memory group =
            groupOf(3, packedRow(channels, Row(channel, 7, 7, Forgery.None), 0), 0);
        authorize(channels, 3, group);
        bytes memory back = signature(
            CLAIM_WALLET_KEY, Digests.refund(address(channels), idOf(channels, channel), 0, 1)
        );
        for (uint256 mode = 1; mode <= uint256(type(ScriptedWallet.Mode).max); mode++) {
            claimWallet.setMode(ScriptedWallet.Mode(mode), type(uint256).max);
            vm.expectRevert(ISessionChannels.InvalidSignature.selector);
            channels.claimWithSignature(rows, batch);
            vm.expectRevert(ISessionChannels.InvalidSignature.selector);
            channels.claimAndSettle(rows, batch);
            vm.expectRevert(ISessionChannels.InvalidSignature.selector);
            channels.claimPacked(one(group));
            vm.expectRevert(ISessionChannels.InvalidSignature.selector);
            channels.refundWithSignature(configOf(channel), 1, 0, back);
        }
        claimWallet.setMode(ScriptedWallet.Mode.Honest, 0);
        channels.claimPacked(one(group));
        channels.claimAndSettle(rows, batch);
        channels.refundWithSignature(configOf(channel), 1, 0, back);
        (uint128 balance, uint128 claimed) = channels.channels(idOf(channels, channel));
        vm.assertEq(balance, 99, "balance");
        vm.assertEq(claimed, 7, "claimed");
    }

    /// @notice A wallet whose key was an EOA's stops answering by ECDSA the moment it has code (EIP-7702), where the check
    /// is by code; where a payerAuthorizer is named it never is.
    function test_delegatedPayerIsAskedByCode() public {
        ISessionChannels.VoucherClaim[] memory own = _rows(KIND_OWN_KEY, 7);
        ISessionChannels.VoucherClaim[] memory byCode = _rows(KIND_ZERO_AUTHORIZER, 7);
        ScriptedWallet elsewhere = new ScriptedWallet(thief);
        vm.etch(payer, address(elsewhere).code);
        vm.prank(receiver);
        channels.claim(own);
        vm.prank(receiver);
        vm.expectRevert(ISessionChannels.InvalidSignature.selector);
        channels.claim(byCode);
    }

    /// @notice An authorizer's signature over a batch claims nothing of a channel that names another authorizer.
    function test_batchSignatureDoesNotReachOtherAuthorizers() public {
        (uint256 own, uint256 foreign) = (1 * KINDS, CHANNEL);
        depositTo(channels, own, 100);
        ISessionChannels.VoucherClaim[] memory rows = new ISessionChannels.VoucherClaim[](2);
        rows[0] = plainRow(channels, Row(own, 5, 5, Forgery.None));
        rows[1] = plainRow(channels, Row(foreign, 5, 5, Forgery.None));
        bytes memory sig = signature(CLAIM_KEY, Digests.claimBatch(address(channels), rows));
        vm.expectRevert(ISessionChannels.NotReceiverAuthorizer.selector);
        channels.claimWithSignature(rows, sig);
        vm.expectRevert(ISessionChannels.NotReceiverAuthorizer.selector);
        channels.claimAndSettle(rows, sig);
        _expectTotals(0, 0);
    }

    // ------------------------------------------------------------------ multicall

    function test_multicallKeepsTheSenderAndIsAllOrNothing() public {
        ISessionChannels.VoucherClaim[] memory rows = _rows(CHANNEL, 7);
        bytes[] memory calls = new bytes[](3);
        calls[0] = abi.encodeCall(channels.claim, (rows));
        calls[1] = abi.encodeCall(channels.settle, (receiver, address(honest)));
        calls[2] = abi.encodeCall(channels.refund, (configOf(CHANNEL), 3));
        vm.expectRevert(ISessionChannels.NotAuthorizedToClaim.selector);
        channels.multicall(calls);
        _expectTotals(0, 0);

        vm.prank(receiver);
        channels.multicall(calls);
        _expectTotals(7, 7);
        _expectBalance(CHANNEL, BALANCE - 3);

        calls[0] = abi.encodeCall(channels.refund, (configOf(CHANNEL), 3));
        calls[2] = abi.encodeCall(channels.cancelWithdraw, (configOf(CHANNEL)));
        vm.prank(receiver);
        vm.expectRevert(abi.encodeWithSelector(ISessionChannels.NotPayer.selector, receiver, payer));
        channels.multicall(calls);
        _expectBalance(CHANNEL, BALANCE - 3);
        _checkSolvent();
    }

    /// @notice Batches within batches, with the guard free again between calls.
    function test_multicallInMulticall() public {
        bytes[] memory inner = new bytes[](2);
        inner[0] = abi.encodeCall(channels.initiateWithdraw, (configOf(CHANNEL), 5));
        inner[1] = abi.encodeCall(channels.cancelWithdraw, (configOf(CHANNEL)));
        bytes[] memory outer = new bytes[](3);
        outer[0] = abi.encodeCall(channels.multicall, (inner));
        outer[1] = inner[0];
        outer[2] = abi.encodeCall(channels.multicall, (new bytes[](0)));
        vm.prank(payer);
        channels.multicall(outer);
        (uint128 pending,) = channels.pendingWithdrawals(idOf(channels, CHANNEL));
        vm.assertEq(pending, 5, "pending");
    }

    function test_nothingTakesEther() public {
        (bool ok,) = address(channels).call{value: 1}("");
        vm.assertTrue(!ok, "took ether");
        (ok,) = address(channels).call{value: 1}(abi.encodeCall(channels.settle, (receiver, address(honest))));
        vm.assertTrue(!ok, "took ether in a call");
    }
}
