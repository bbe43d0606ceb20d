"""The cases of the reference implementation's conformance suite: 44 suites, 364 names.

The names are facts, written as they are there, misspellings included; what each one asks for stands in the test that
bears it: `@pytest.mark.reference("TimerTest.BasicTimer")`. A case that has no meaning in Python stands in
`without_meaning.py` instead, with what covers its intent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class ReferenceSuite:
    """One suite of the reference: the folder and file it stands in, its class, its cases in order."""

    path: str
    name: str
    cases: tuple[str, ...]

    @property
    def full_names(self) -> tuple[str, ...]:
        """`Suite.Case`, which is unique."""
        return tuple(f"{self.name}.{case}" for case in self.cases)


def _suite(path: str, name: str, cases: str) -> ReferenceSuite:
    return ReferenceSuite(path, name, tuple(cases.split()))


REFERENCE_SUITES: Final = (
    _suite(
        "core/lifecycle",
        "LifecycleTest",
        """
        CreateSucceeds QueryCapabilities RetainRelease MultipleRetainRelease PollIdleReturnsDeadlineExceeded
        """,
    ),
    _suite(
        "core/nop",
        "NopTest",
        """
        SingleNop MultipleNops CallbackReceivesOperationPointer EmptySubmit
        """,
    ),
    _suite(
        "core/timer",
        "TimerTest",
        """
        BasicTimer ImmediateTimer MultipleTimersOrder
        """,
    ),
    _suite(
        "core/sequence",
        "SequenceTest",
        """
        TwoLinkedNops LinkedNopChain LinkedTimerOrder ChainWithCancellation MixedLinkedUnlinked
        LinkedEventWaitNop LinkedConnectSend TrailingLinkedRejected TrailingLinkedInBatchRejected
        LinkedConnectFailurePropagates LinkedTimerChainMidCancellation LinkedTimerAsyncSubmit
        """,
    ),
    _suite(
        "core/sequence",
        "SequenceOperationTest",
        """
        ZeroStepSequence SingleStepNop TwoStepNop ThreeStepNop SequenceWithTimer SequenceCancellation
        StepFnCalled StepFnModifiesNextStep StepFnAbort EmulationCancellation ZeroStepWithStepFn
        SingleStepCancellation LINKEDOnSequenceRejected LINKEDOnSequenceWithStepFnRejected
        StepFnErrorOnLastStep CancelDuringStepFn LinkCancelAfterStepCompletion
        """,
    ),
    _suite(
        "core/error_propagation",
        "ErrorPropagationTest",
        """
        SendOnClosedConnectionSetsStickyFailure StickyFailurePersistsAcrossOperations
        ProactorContinuesAfterSocketFailure MultishotRecvPeerCloseDeliversFinalCallback
        ConnectFailureCarriesCorrectStatus OperationAfterSocketError
        ConnectFailurePropagatesThroughLinkedChain TimerDeadlineInPastCompletesOk
        """,
    ),
    _suite(
        "core/resource_exhaustion",
        "ResourceExhaustionTest",
        """
        ManyConcurrentTimers ManyConcurrentCancellations RapidNopSubmissions InterleavedSubmitPoll
        """,
    ),
    _suite(
        "core/tsan_bridge",
        "TsanBridgeTest",
        """
        SingleThreadReuse MultiThreadReuse TwoThreadsTwoSlots
        """,
    ),
    _suite(
        "event/event",
        "EventTest",
        """
        SameThreadSignal CrossThreadSignal MultipleEventsPartialSignal ResetAndReWait PreSignaledEvent
        RetainRelease
        """,
    ),
    _suite(
        "event/event_source_posix",
        "EventSourceEventfdTest",
        """
        RegisterUnregister CallbackFires MultipleSignals UnregisterStopsCallbacks MultipleEventSources
        """,
    ),
    _suite(
        "event/event_source_posix",
        "EventSourcePosixTest",
        """
        PipeHangupDeliversPollHup PipeDataDeliversPollIn
        """,
    ),
    _suite(
        "file",
        "FileTest",
        """
        OpenExistingFileForRead OpenNonExistentFileFailsNotFound OpenWithCreateCreatesNewFile ReadEntireFile
        ReadAtOffset ReadPastEOFShortRead ReadSpanLargerThan4GiBIsClampedNotTruncated
        ReadBeyondEOFReturnsZeroBytes WriteAndReadBack WriteAtOffset AsyncClose WriteFlushClose
        ImportRetainRelease ConcurrentReadsAtDifferentOffsets LargeWriteAndReadBack
        """,
    ),
    _suite(
        "buffer/pool",
        "BufferPoolTest",
        """
        CreateAndFree FreeNullIsNoOp ZeroBufferSizeRejected ZeroBufferCountRejected AcquireAndRelease
        AcquireAllAndReleaseAll ResourceExhaustion BufferMemoryAccessible BuffersAreDisjoint
        LeaseHasValidRegion LeaseIndicesValid NonPowerOfTwoCount SlabSourceIsNumaAlloc
        SlabWrapExternalMemory
        """,
    ),
    _suite(
        "buffer/registration",
        "BufferRegistrationTest",
        """
        RegisterHostBuffer RegisterMultipleBuffers StateCleanupUnregistersAll RegisterDmabuf
        RegisterDmabufWithOffset RecvPoolConfiguration RecvPoolRequiresPowerOfTwo RecvPoolBufferRecycling
        MultipleSendSlabRegistrations SlabAndDmabufCoexist RegionRetainedAfterStateCleanup
        RecvPoolRejectsReadOnlyRegion LeaseDoubleReleaseIsIdempotent
        """,
    ),
    _suite(
        "buffer/shared_pool",
        "SharedBufferPoolTest",
        """
        StorageSizeMonotonic StorageSizePerSlotCost CreateAndFree OpenValidatesMagic
        OpenValidatesVersionMismatch OpenValidatesBufferSizeMismatch OpenValidatesMemoryTooSmall
        CreateThenOpen CrossHandleAcquireRelease ExhaustionVisibleAcrossHandles
        BufferDataCoherentAcrossMappings NoDuplicateIndices ConcurrentAcquireRelease
        """,
    ),
    _suite(
        "futex",
        "FutexTest",
        """
        BasicFutexWaitWake FutexWaitValueMismatch FutexWakeWakesWaiter FutexWakeCount FutexWakeAll
        FutexWakeNoWaiters FutexRoundTrip FutexChainedOperations FutexCancellation
        WakeFromCompletionCallback WakeAllFromCallback FutexDoubleCancellation CancelRacesWithWake
        NotAvailable
        """,
    ),
    _suite(
        "socket/lifecycle",
        "SocketTest",
        """
        CreateSocket_TCP CreateSocket_UDP CreateSocket_Unix IPv6_AddressParsing IPv6_AnyAddressParsing
        IPv6_CreateAndBind IPv6_CreateUDP6 IPv6_LoopbackSendRecv SocketRetainRelease BindLoopback
        BindEphemeralPort ListenWithBacklog BindTwice_Fails StickyFailure_InitiallyOk
        StickyFailure_ReleaseAfterError ConnectSuccess AcceptSuccess LoopbackSendRecv ConnectRefused
        MultipleExchanges
        """,
    ),
    _suite(
        "socket/posix",
        "SocketPosixTest",
        """
        ImportSocket_FromRawFd ImportSocket_InvalidFd ImportSocket_ClosedFd UnixSocket_AbstractNamespace
        UnixSocket_AbstractConnect UnixSocket_AbstractNamespace_Unavailable VerifyOption_ReuseAddr
        VerifyOption_ReusePort VerifyOption_NoDelay VerifyOption_KeepAlive VerifyOption_LingerZero
        CreateSocket_UnixDgram UnixDgram_ConnectedLoopback UnixDgram_MessageBoundary
        """,
    ),
    _suite(
        "socket/win32",
        "SocketWin32Test",
        """
        ImportSocket_FromWinsock ImportSocket_InvalidHandle ImportSocket_ClosedHandle VerifyOption_ReuseAddr
        VerifyOption_NoDelay VerifyOption_KeepAlive VerifyOption_LingerZero
        """,
    ),
    _suite(
        "socket/tcp_control",
        "ShutdownTest",
        """
        Shutdown_Write Shutdown_WriteStillReceives Shutdown_Both Shutdown_Unconnected Shutdown_InvalidMode
        """,
    ),
    _suite(
        "socket/tcp_control",
        "BindListenErrorTest",
        """
        Bind_PortConflict Listen_ImplicitBind Listen_Twice Accept_NonListening
        """,
    ),
    _suite(
        "socket/tcp_control",
        "ResetTest",
        """
        Reset_CloseWithUnreadData Reset_RecvAfterPeerClose Reset_SendAfterPeerShutdown Reset_LingerZero
        """,
    ),
    _suite(
        "socket/tcp_transfer",
        "LargeTransferTest",
        """
        LargeTransfer_1MB LargeTransfer_SmallSendBuffer LargeTransfer_Chunked LargeTransfer_Bidirectional
        """,
    ),
    _suite(
        "socket/tcp_transfer",
        "ConcurrentConnectionsTest",
        """
        ConcurrentConnections_Sequential ConcurrentConnections_Parallel ConcurrentConnections_Interleaved
        """,
    ),
    _suite(
        "socket/tcp_transfer",
        "ScatterGatherTest",
        """
        SendScatter_MultipleBuffers ScatterGather_ZeroLengthBuffer ScatterGather_SingleBuffer
        ScatterGather_ManyBuffers RecvScatter_MultipleBuffers ScatterGather_Bidirectional
        """,
    ),
    _suite(
        "socket/multishot",
        "MultishotTest",
        """
        MultishotAccept_MultipleConnections MultishotAccept_ListenerClose MultishotRecv_MultipleMessages
        MultishotRecv_ConnectionClose
        """,
    ),
    _suite(
        "socket/udp",
        "UdpTest",
        """
        UDP_ConnectedLoopback UDP_MessageBoundary UDP_Bidirectional UDP_BurstTransfer
        """,
    ),
    _suite(
        "socket/udp",
        "UnconnectedUdpTest",
        """
        SendtoRecvfrom_Basic SendtoRecvfrom_ReplyToSender SendtoRecvfrom_ScatterGather
        """,
    ),
    _suite(
        "socket/send_flags",
        "SendFlagsTest",
        """
        ZeroCopySendBasic ZeroCopySendLargeBuffer MoreFlagCoalesces ZeroCopyWithMoreeFlag
        ZeroCopyBufferSafetyOnCompletion ZeroCopySendRegisteredSlab ZeroCopySendRegisteredLargeTransfer
        ZeroCopySendPartialBuffer ScatterGatherFromRegistered ConcurrentRegisteredSends
        ZeroCopySendUnregisteredFallback ScatterGatherMixedRegistration
        ZeroCopyFallbackWhenCapabilityDisabled ZeroCopySendMultipleSlabs
        """,
    ),
    _suite(
        "socket/zerocopy",
        "ZeroCopyTest",
        """
        ZeroCopy_CreateSocket ZeroCopy_SendRecv ZeroCopy_CombinedOptions
        """,
    ),
    _suite(
        "socket/data_lifetime",
        "DataLifetimeTest",
        """
        SendFromRecvCallback_StackLocalData RepeatedSendFromRecvCallback_VaryingPatterns
        """,
    ),
    _suite(
        "socket/data_lifetime",
        "DataLifetimeBackpressureTest",
        """
        BackpressureSend_ContextOwnedData RepeatedBackpressureSend_VaryingPatterns
        """,
    ),
    _suite(
        "socket/message",
        "MessageTest",
        """
        BasicSend SkipSourceCompletion LinkChainTimerThenMessage SelfMessage Bidirectional MultipleInFlight
        SendMessage SendMessageFromMultipleThreads
        """,
    ),
    _suite(
        "sync/cancellation",
        "CancellationTest",
        """
        CancelPendingTimer CancelCompletedTimer DoubleCancelTimer CancelPendingEventWait
        CancelCompletedEventWait DoubleCancelEventWait CancelEventWaitEventStillUsable
        CancelEventWaitRacesWithSignal CancelEventWaitFromBackgroundThread CancelPendingRecv
        CancelRecvSocketStillUsable CancelPendingAccept CancelAcceptListenerStillUsable CancelPendingConnect
        CallbackAlwaysFires CancelRacesWithCompletion
        """,
    ),
    _suite(
        "sync/notification",
        "NotificationTest",
        """
        RetainRelease SignalNoWaiters SignalIfObservedNoWaitersSkipsWake
        SignalIfObservedExplicitObservationAdvancesEpoch SyncWaitCrossThread SyncWaitTimeout
        MultipleSignalsWhileWaiting RepeatedWaitSignalCycles MultipleWaitersPartialWake BroadcastWake
        AsyncWait SignalIfObservedSubmittedAsyncWaitCompletes AsyncWaitWithCallerWaitToken AsyncSignal
        ChainedWaitNop RoundTrip
        """,
    ),
    _suite(
        "sync/shared_notification",
        "SharedNotificationTest",
        """
        SharedEpochSignalAndQuery SharedEpochSyncWait SharedEpochAsyncWait DestroyDoesNotClosePrimitives
        MultipleCycles TwoNotificationsOneEpoch CrossNotificationSyncWait SharedSyncWaitTimeout
        """,
    ),
    _suite(
        "sync/relay",
        "RelayTest",
        """
        NotificationToNotification PersistentNotificationRelay UnregisterNotificationWhilePending
        MultipleNotificationRelays NotificationToNotificationFutexMode
        """,
    ),
    _suite(
        "sync/relay_posix",
        "RelayPosixTest",
        """
        PrimitiveToPrimitive PrimitiveToNotification NotificationToPrimitive PersistentMultipleTransfers
        OneShotAutoCleanup OwnSourcePrimitive MultipleActiveRelays ErrorSensitiveSuppressesSinkOnPollHup
        ErrorSensitiveFiresOnNormalPollin OwnSourcePrimitiveOnUnregister UnregisterWhilePending
        """,
    ),
    _suite(
        "sync/relay_windows",
        "RelayWindowsTest",
        """
        NotificationToPrimitive PersistentNotificationToPrimitive MultipleRelaysToDifferentPrimitives
        UnregisterWhilePending
        """,
    ),
    _suite(
        "sync/fence_posix",
        "FencePosixTest",
        """
        ImportFence_SignalAdvancesSemaphore ImportFence_AlreadySignaled ImportFence_InvalidFd
        ImportFence_NonePrimitive ExportFence_SemaphoreAdvanceSignalsFence
        ExportFence_SemaphoreAlreadyReached ImportExportRoundTrip ExportFence_SemaphoreFailsAfterExport
        ExportFence_SemaphoreAlreadyFailed ExportFence_MultipleExportsDifferentValues
        ImportFence_CrossThreadImportDuringPoll ImportFence_MultipleCrossThreadImports
        """,
    ),
    _suite(
        "sync/semaphore_sync",
        "SemaphoreSyncTest",
        """
        CreateQueryRelease SignalAdvancesValue SignalNonMonotonicFails SignalWithFrontier
        FrontierCapacityOverflow FailStickyStatus TimepointImmediateSatisfaction TimepointPendingThenSignal
        TimepointCancel TimepointCancelAfterFire MultipleTimepoints TaintingWatermark RetainRelease
        TimepointCrossThread DestroyWithPendingTimepoints
        """,
    ),
    _suite(
        "sync/semaphore_async",
        "SemaphoreAsyncTest",
        """
        SignalSingle SignalMultiple SignalNonMonotonicFails SignalWithFrontier WaitSingleAlreadySatisfied
        WaitSinglePending WaitAllModePartial WaitAllModeComplete WaitAnyMode WaitSemaphoreFailed
        WaitSemaphoreAlreadyFailed WaitCancellation SignalWakesPendingWait
        """,
    ),
    _suite(
        "sync/semaphore_linked",
        "SemaphoreLinkedTest",
        """
        LinkedWaitThenNop LinkedSignalThenNop LinkedRecvThenSignal LinkedWaitThenSend
        LinkedWaitFailureCancelsChain LinkedSignalFailureCancelsChain IndependentChains
        LinkedRecvThenSignalThenSend LinkedSignalThenRecv LinkedSignalSignalNop
        LinkedRecvThenSignalTimingCheck LinkedWaitRecvSignal LinkedFailureCancelsMixedChain
        """,
    ),
    _suite(
        "sync/signal",
        "SignalTest",
        """
        SubscribeUnsubscribe InvalidSignal SignalName WindowsUnsupportedSignals SignalDelivery
        MultipleSubscribers
        """,
    ),
)

ALL_CASES: Final = tuple(name for suite in REFERENCE_SUITES for name in suite.full_names)
